"""`run`: except for its model calls, a command behaves as it would alone, and exceptions are named."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import commands
from commands import RUN, run_around
from support import Upstream


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    commands.isolate(monkeypatch, tmp_path)
    return tmp_path


WAITS = """
import os, signal, sys
if sys.argv[1] == "handles":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(5))
else:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
print(os.environ["HTTPS_PROXY"], os.getpid(), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def waiting(how: str) -> Any:
    """`run` with a command that waits for the end of its input; the process, and the proxy's port."""
    # A session of its own: no terminal sends it signals.
    process = subprocess.Popen(
        [*RUN, "--", sys.executable, "-c", WAITS, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has SIGINT ignored, and `run` would leave it so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    with process:
        try:
            assert process.stdout
            told = re.fullmatch(r"http://127\.0\.0\.1:([0-9]+) ([0-9]+)\n", process.stdout.readline())
            assert told
            yield process, int(told[1]), int(told[2])
        finally:
            process.kill()


def wait_until_gone(port: int) -> None:
    """Return when nothing listens any more."""
    limit = time.monotonic() + 30
    with contextlib.suppress(ConnectionRefusedError):
        while time.monotonic() < limit:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
            time.sleep(0.02)  # a flood of connections would keep the proxy from ending
        pytest.fail("the proxy lives on")


def of_run(process: subprocess.Popen[str], command: int) -> int:
    return process.pid


def of_command(process: subprocess.Popen[str], command: int) -> int:
    return command


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("how", "number", "target", "status"),
    [
        ("handles", signal.SIGINT, of_run, 5),
        ("does not", signal.SIGTERM, of_run, 128 + signal.SIGTERM),
        ("does not", signal.SIGKILL, of_command, 128 + signal.SIGKILL),
    ],
)
def test_signals_reach_the_command_and_its_status_is_passed_on(
    how: str, number: int, target: Callable[[subprocess.Popen[str], int], int], status: int
) -> None:
    with waiting(how) as (process, port, command):
        os.kill(target(process, command), number)
        assert process.wait(60) == status
        wait_until_gone(port)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_proxy_does_not_outlive_run() -> None:
    with waiting("does not") as (process, port, _):
        process.kill()
        wait_until_gone(port)
        process.stdin.close()  # the command itself lives until its own end


@pytest.mark.skipif(sys.platform == "win32", reason="the program in this test is a shell script")
@pytest.mark.parametrize(("version", "told"), [("v20.20.2", True), ("v22.20.0", True), ("v24.1.0", False)])
def test_a_node_that_ignores_proxies_is_named(
    version: str, told: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = folder / "node"
    node.write_text(f"#!/bin/sh\necho {version}\n")
    (folder / "agent").write_text("#!/usr/bin/env node\n")
    for file in (node, folder / "agent"):
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    done = run_around("agent")
    assert (done.returncode, done.stdout) == (0, f"{version}\n")
    assert (f"Node {version[1:]} ignores" in done.stderr) is told


CALL = """
import os, urllib.request
body = b'{"model": "m", "messages": [{"role": "user", "content": "ping"}]}'
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()
"""


@pytest.mark.parametrize(("script", "told"), [("", True), (CALL, False)], ids=["no call", "a call"])
def test_a_run_without_a_model_call_names_the_ways_to_one(upstream: Upstream, script: str, told: bool) -> None:
    done = run_around("--base-url", "--upstream", f"{upstream.url}/v1", "--", sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    assert ("no model call was seen" in done.stderr) is told
    assert all((way in done.stderr) is told for way in ("`run --base-url`", "`--mode local:`"))


def test_what_cannot_be_run_or_cannot_start_is_said() -> None:
    done = run_around("--", "no-such-program")
    assert (done.returncode, done.stdout) == (127, "")
    assert "no-such-program" in done.stderr
    done = run_around("--", sys.executable, "-c", "print('never')", HTTPS_PROXY="socks5://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: HTTPS_PROXY names no http:// or https:// proxy; give it one, or unset it\n"
    Path("a-file").touch()
    done = run_around("--cache-dir", "a-file", "--", sys.executable, "-c", "print('never')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the proxy did not start" in done.stderr
    assert "a-file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_is_ended_if_its_proxy_does_not_start(folder: Path) -> None:
    assert run_around("--", sys.executable, "-c", "").returncode == 0
    (folder / "home" / ".mitmproxy" / "config.yaml").write_text("tcp_timeout: soon\n")
    done = run_around("--", sys.executable, "-c", "import time; time.sleep(600)")
    assert done.returncode == 1
    assert "the proxy did not start" in done.stderr
    assert "tcp_timeout" in done.stderr
