"""A private proxy can be connected to from the first moment on, and says so if it never comes up."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

import commands
from computer_use_cache.errors import CacheError
from computer_use_cache.launch import companion, trust
from computer_use_cache.settings import Settings


@pytest.fixture(autouse=True)
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """mitmproxy's folder, which is still empty."""
    commands.isolate(monkeypatch, tmp_path)
    return trust.FOLDER.expanduser()


def test_what_connects_before_it_is_up_is_answered_by_it(authority: Path) -> None:
    with companion.running(Settings.load({}), {}, (), base_url=True) as proxy:
        assert not proxy.may_be_used_at_once, "the authority does not exist yet"
        with socket.create_connection(("127.0.0.1", proxy.base_port or 0), timeout=60) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        proxy.wait()
        assert proxy.folder == authority
        assert trust.authority(authority).exists()
        assert proxy.may_be_used_at_once
        assert proxy.end() == ""


def test_a_proxy_that_does_not_start_says_why_and_leaves_its_ports(authority: Path) -> None:
    authority.mkdir(parents=True)
    (authority / "config.yaml").write_text("tcp_timeout: soon\n")
    failed = threading.Event()
    with companion.running(Settings.load({}), {}, (), base_url=False) as proxy:
        proxy.when_failed(failed.set)
        assert failed.wait(60)
        with pytest.raises(CacheError, match=r"(?s)did not start.*tcp_timeout"):
            proxy.wait()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
