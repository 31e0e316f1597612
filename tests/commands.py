"""What the tests of the command line share: an environment without anybody's settings, and a real `start`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from computer_use_cache.settings import Settings

RUN = (sys.executable, "-m", "computer_use_cache", "run")
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
ADDON = Path(__file__).parent.parent / "addon"


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    """Work in `folder` with no setting but PORT; returns the port, a free one, because the default may be in use."""
    for item in Settings.declarations():
        for variable in item.variables:
            monkeypatch.delenv(variable, raising=False)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    port = free_port()
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ADDON))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.chdir(folder)
    return port


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"ok": True, "cache": {"entries": 1, "hits": 1}, "upstream_base_url": "http://u/v1"}).encode()
        self.send_response({"/healthz": 200, "/models": 404}.get(self.path, 401))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    """A server that is not this project's but answers like the original tool's; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Running:
    """A proxy that `start` runs: its process, and its URL without a path."""

    process: subprocess.Popen[str]
    url: str


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m computer_use_cache` to its end."""
    command = [sys.executable, "-m", "computer_use_cache", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def run_around(*command: str, sent: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """`run` with this command, `sent` as its input, and more environment variables."""
    environment = os.environ | variables
    return subprocess.run([*RUN, *command], input=sent, capture_output=True, text=True, check=False, env=environment)


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[Running]:
    """`start` on a free port, ready for requests."""
    command = [sys.executable, "-m", "computer_use_cache", "start", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    with process:
        try:
            seen = []
            for line in process.stdout:
                seen.append(line)
                if found := re.search(r"listening at (\S+:[0-9]+)\.", line):
                    yield Running(process, f"http://{found[1]}")
                    return
            pytest.fail("it did not start: " + "".join(seen))
        finally:
            process.terminate()
