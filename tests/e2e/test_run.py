"""`run`: a command that hard-codes its provider is served from the cache, and is in all else as it would be alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest

import commands
from support import FAKE_KEY, completion

AGENT = """
import json, ssl, subprocess, sys, urllib.request

import anthropic, openai, requests

url = "https://api.openai.com/v1/chat/completions"
question = {"model": "gpt-test", "messages": [{"role": "user", "content": "ping"}]}
said = []
said.append(openai.OpenAI().chat.completions.create(**question).choices[0].message.content)
said.append(anthropic.Anthropic().messages.create(max_tokens=9, **question).content[0].text)
said.append(requests.post(url, json=question).json()["choices"][0]["message"]["content"])
request = urllib.request.Request(url, json.dumps(question).encode())
said.append(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
sent = ["-H", "content-type: application/json", "-d", json.dumps(question)]
for command in json.loads(sys.argv[1]):
    asked = [*command, *(sent if command[0] == "curl" else [json.dumps(question)])]
    answer = subprocess.run([*asked, url], capture_output=True, check=True).stdout
    said.append(json.loads(answer)["choices"][0]["message"]["content"])
said.append(requests.utils.should_bypass_proxies("http://127.0.0.1:8000/own", None))
print(json.dumps(said))
sys.exit(7)
"""
FETCH = "fetch(process.argv[2], {method: 'POST', body: process.argv[1]}).then(a => a.text()).then(console.log)"
JAVA = """
import java.net.URI;
import java.net.http.*;
class Agent {
    public static void main(String[] given) throws Exception {
        var body = HttpRequest.BodyPublishers.ofString(given[0]);
        var request = HttpRequest.newBuilder(URI.create(given[1])).POST(body).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "gpt-test",
    "content": [{"type": "text", "text": "pong of Anthropic"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 2},
}
RUN = [sys.executable, "-m", "computer_use_cache", "run"]


def recorded(url: str, headers: dict[str, str], request: Any, answer: Any) -> dict[str, Any]:
    return {
        "startedDateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "time": 1,
        "request": {
            "method": "POST",
            "url": url,
            "httpVersion": "HTTP/1.1",
            "headers": [{"name": name, "value": value} for name, value in headers.items()],
            "postData": {"text": json.dumps(request)},
        },
        "response": {
            "status": 200,
            "httpVersion": "HTTP/1.1",
            "headers": [{"name": "content-type", "value": "application/json"}],
            "content": {"text": json.dumps(answer)},
        },
    }


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    commands.isolate(monkeypatch, tmp_path)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, FAKE_KEY)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    monkeypatch.setenv("CACHE_MODE", "offline")  # what is not cached is an error: no test needs a network
    return tmp_path


@pytest.fixture
def filled() -> None:
    question = {"model": "gpt-test", "messages": [{"role": "user", "content": "ping"}]}
    entries = [
        recorded("https://api.openai.com/v1/chat/completions", {}, question, completion("pong")),
        recorded(
            "https://api.anthropic.com/v1/messages",
            {"anthropic-version": anthropic.Anthropic().default_headers["anthropic-version"]},
            question | {"max_tokens": 9},
            MESSAGE,
        ),
    ]
    Path("calls.har").write_text(json.dumps({"log": {"entries": entries}}))
    assert commands.run_module("import", "calls.har").returncode == 0


def run(*command: str, sent: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *command], input=sent, capture_output=True, text=True, check=False)


def other_clients(folder: Path) -> list[list[str]]:
    """Commands of this machine that take a body and a URL and print the answer."""
    found = [["curl", "-sS"]] if shutil.which("curl") else []
    if shutil.which("node"):
        version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
        if int(version[1:].partition(".")[0]) >= 24:
            found.append(["node", "-e", FETCH])
    if shutil.which("javac"):
        (folder / "Agent.java").write_text(JAVA)
        found.append(["java", str(folder / "Agent.java")])
    return found


@pytest.mark.usefixtures("filled")
def test_an_agent_that_hard_codes_its_provider_is_served_offline(folder: Path) -> None:
    others = other_clients(folder)
    done = run("--", sys.executable, "-c", AGENT, json.dumps(others))
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == ["pong", "pong of Anthropic", "pong", "pong", *["pong" for _ in others], True]
    assert done.stderr == f"computer-use-cache: {4 + len(others)} hits, 0 misses, 0 past the cache\n"


@pytest.mark.usefixtures("filled")
def test_base_url_points_clients_at_a_cache_of_their_own() -> None:
    script = """
import sys, openai, os
assert "127.0.0.1" in str(openai.OpenAI().base_url), openai.OpenAI().base_url
question = {"model": "gpt-test", "messages": [{"role": "user", "content": sys.stdin.read()}]}
print(openai.OpenAI().chat.completions.create(**question).choices[0].message.content)
"""
    upstream = ("--base-url", "--upstream", "https://api.openai.com/v1")
    done = run(*upstream, sys.executable, "-c", script, sent="ping")
    assert (done.returncode, done.stdout) == (0, "pong\n"), done.stderr
    assert done.stderr == "computer-use-cache: 1 hit, 0 misses, 0 past the cache\n"


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
def test_signals_reach_the_command_and_its_status_is_told(
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
    done = run("agent")
    assert (done.returncode, done.stdout) == (0, f"{version}\n")
    assert (f"Node {version[1:]} ignores" in done.stderr) is told


def test_what_cannot_be_run_or_cannot_start_is_said() -> None:
    done = run("--", "no-such-program")
    assert (done.returncode, done.stdout) == (127, "")
    assert "no-such-program" in done.stderr
    Path("a-file").touch()
    done = run("--cache-dir", "a-file", "--", sys.executable, "-c", "print('never')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the proxy did not start" in done.stderr
    assert "a-file" in done.stderr
