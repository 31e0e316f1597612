"""Transparent mode, with a kernel that redirects connections: in a network namespace, where the machine allows it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Answer, Upstream, chat_request, running_proxy
from tls import certificate

CLIENT = "192.0.2.9"
"""What comes from this address is redirected; the proxy's own connections come from another one."""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()}")


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace in which this thread, and every thread and process that it starts, then is."""
    if missing := [tool for tool in ("ip", "iptables") if not shutil.which(tool)]:
        pytest.skip(f"{' and '.join(missing)} is not installed")
    name = f"cache-test-{os.getpid()}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "address", "add", f"{CLIENT}/32", "dev", "lo")
        with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{name}") as inside:
            os.setns(inside.fileno(), os.CLONE_NEWNET)
            try:
                yield name
            finally:
                os.setns(before.fileno(), os.CLONE_NEWNET)
    finally:
        subprocess.run(("ip", "netns", "delete", name), check=True)


def connect(port: int, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(CLIENT, 0))
    return context.wrap_socket(raw, server_hostname=name)


@pytest.mark.usefixtures("namespace")
def test_redirected_connections_are_cached_or_tunnelled_by_the_name_they_ask_for(tmp_path: Path) -> None:
    provider = Upstream(tls=certificate(tmp_path))
    trusted = ("--set", f"ssl_verify_upstream_trusted_ca={tmp_path}/server.pem")
    with running_proxy(
        tmp_path,
        f"https://localhost:{provider.port}/v1",
        *("--mode", "transparent@127.0.0.1:0", *trusted),
        listen="@127.0.0.2:0",
        CACHE_HOSTS="localhost",
    ) as proxy:
        redirect = ("-j", "REDIRECT", "--to-ports", str(proxy.port))
        run(*f"iptables -t nat -A OUTPUT -s {CLIENT} -p tcp --dport {provider.port}".split(), *redirect)

        known = ssl.create_default_context(cafile=tmp_path / "mitmproxy" / "mitmproxy-ca-cert.pem")
        outcomes = []
        for _ in range(2):
            connection = http.client.HTTPConnection("localhost")
            connection.sock = connect(provider.port, known, "localhost")
            with contextlib.closing(connection):
                connection.request("POST", "/v1/chat/completions", json.dumps(chat_request()))
                answer = connection.getresponse()
                outcomes.append(Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()))
        assert [(answer.status, answer.cache) for answer in outcomes] == [(200, "MISS"), (200, "HIT")]
        assert len(provider.asked) == 1

        # It trusts the provider's own certificate and no other, whatever the name in it.
        own = ssl.create_default_context(cafile=tmp_path / "server.pem")
        own.check_hostname = False
        with connect(provider.port, own, "other.example"):
            pass
    provider.close()
