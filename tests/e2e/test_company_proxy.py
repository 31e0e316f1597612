"""`run` behind a proxy that was set before: a real mitmdump that wants a password and takes TLS apart."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import commands
from commands import run_around
from support import FAKE_KEY, Proxy, Upstream, running_proxy
from tls import certificate

PASSWORD = "p@ss/" + "word"
SCRIPT = """
import json

ports = {443: %d, 80: %d}

def server_connect(data):  # no name that the tests use leads anywhere
    data.server.address = ("127.0.0.1", ports[data.server.address[1]])

def requestheaders(flow):
    print("company: " + flow.request.pretty_url, flow.request.headers.get("authorization"), flush=True)
"""
AGENT = """
import json, pathlib, sys, urllib.request

import openai

question = {"model": "gpt-test", "messages": [{"role": "user", "content": "ping"}]}
for _ in range(2):
    print(openai.OpenAI().chat.completions.create(**question).choices[0].message.content)
request = urllib.request.Request("http://plain.example/v1/chat/completions", json.dumps(question).encode())
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
titles = [file.read_bytes() for file in pathlib.Path("/proc").glob("[0-9]*/cmdline")]
print(any(password in title for title in titles for password in (b"p@ss", b"p%40ss")))
"""


@pytest.fixture
def company(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    """The proxy, which this environment names and trusts."""
    commands.isolate(monkeypatch, tmp_path)
    providers = [Upstream(tls=certificate(tmp_path)), Upstream()]
    script = tmp_path / "company.py"
    script.write_text(SCRIPT % tuple(provider.port for provider in providers))
    configuration = tmp_path / "company" / "mitmproxy" / "config.yaml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f"proxyauth: me:{PASSWORD}\nssl_insecure: true\n")
    options = ("--mode", "regular@127.0.0.2:0")
    with running_proxy(tmp_path / "company", "http://localhost/v1", *options, entry=script) as proxy:
        place = re.compile(r"HTTP\(S\) proxy listening at (\S+)\.")
        proxy.wait_for_log("HTTP(S) proxy listening")
        address = next(found[1] for line in list(proxy.log) if (found := place.search(line)))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss%2Fword@{address}")
        monkeypatch.setenv("SSL_CERT_FILE", str(configuration.with_name("mitmproxy-ca-cert.pem")))
        monkeypatch.setenv("OPENAI_API_KEY", FAKE_KEY)
        yield proxy
    for provider in providers:
        provider.close()


def calls(company: Proxy) -> list[str]:
    """What the company's proxy saw, each call as its URL and its credential."""
    return [line.removeprefix("company: ").strip() for line in list(company.log) if line.startswith("company: ")]


@pytest.mark.parametrize("base_url", [(), ("--base-url", "--upstream", "https://api.openai.com/v1")])
def test_calls_go_through_the_proxy_that_was_set_with_its_password_and_their_own_key(
    base_url: tuple[str, ...], company: Proxy
) -> None:
    Path("agent.py").write_text(AGENT)  # not in the command line, where it looks for the password
    done = run_around(*base_url, "--", sys.executable, "agent.py")
    assert done.stdout.splitlines() == ["pong", "pong", "pong", "False"], done.stderr
    assert done.stderr == "computer-use-cache: 1 hit, 1 miss, 0 bypassed\n"
    chat = "/v1/chat/completions"
    assert calls(company) == [f"https://api.openai.com{chat} Bearer {FAKE_KEY}", f"http://plain.example{chat} None"]


@pytest.mark.parametrize("url", ["socks5://me:p%40ss@127.0.0.1:1080", "http://me:p%40ss@host:port"])
def test_a_proxy_that_cannot_be_gone_through_is_refused_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands.isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("ALL_PROXY", url)
    done = run_around("--", sys.executable, "-c", "print('never')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ALL_PROXY names no http:// or https:// proxy" in done.stderr
    assert "p%40ss" not in done.stderr
