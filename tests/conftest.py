"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Proxy, Upstream, running_proxy


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
