"""Company networks: a forward proxy with a password, and an authority of the company's own that inspects TLS."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import socketserver
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import commands
from commands import run_around
from computer_use_cache import network
from support import FAKE_KEY, Proxy, Upstream, chat_request, running_proxy
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
        host, port = proxy.http_proxy()
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://me:p%40ss%2Fword@{host}:{port}")
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
    base_url: tuple[str, ...], company: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_SAMPLES", "latest")  # the agent asks one question twice
    Path("agent.py").write_text(AGENT)  # not in the command line, where it looks for the password
    done = run_around(*base_url, "--", sys.executable, "agent.py")
    assert done.stdout.splitlines() == ["pong", "pong", "pong", "False"], done.stderr
    assert done.stderr.splitlines()[:-1] == [
        "computer-use-cache: 1 hit, 1 miss, 0 bypassed",
        "  not cached: 1 x POST /v1/chat/completions at plain.example: CACHE_HOSTS=+plain.example would cache it",
    ]
    assert "computer-use-cache show" in done.stderr.splitlines()[-1]
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


HOST = "models.example.test"


class ForwardProxy(socketserver.ThreadingTCPServer):
    """A forward proxy that connects every host to the port `target` on this machine, and notes what it was asked."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        self.target = target
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Forwarding)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://me:p%40ss%2Fword@127.0.0.1:{self.server_address[1]}"


class _Forwarding(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, ForwardProxy)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline()
        credentials = base64.b64encode(f"me:{PASSWORD}".encode())
        if credentials not in head:
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            return
        method, target, _ = head.split(b" ", 2)
        self.server.asked.append((method.decode(), target.decode()))
        with socket.create_connection(("127.0.0.1", self.server.target)) as out:
            if method == b"CONNECT":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                out.sendall(head)
            back = threading.Thread(target=self._copy_answers, args=(out,))
            back.start()
            with contextlib.suppress(OSError):  # either side may break off: what was said until then was passed on
                while data := self.rfile.read1():  # not from the socket: some may have been read with the head
                    out.sendall(data)
                out.shutdown(socket.SHUT_WR)
            back.join()

    def _copy_answers(self, out: socket.socket) -> None:
        with contextlib.suppress(OSError):
            shutil.copyfileobj(out.makefile("rb", 0), self.wfile)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Upstream]:
    """A provider with TLS, whose authority only `tmp_path`/server.pem names."""
    commands.isolate(monkeypatch, tmp_path)
    for name in network.BUNDLES:
        monkeypatch.delenv(name, raising=False)
    upstream = Upstream(tls=certificate(tmp_path, HOST))
    yield upstream
    upstream.close()


def ask(url: str) -> tuple[int, str]:
    """The status and the outcome of a chat through the cache at `url`."""
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(chat_request()).encode())
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, answer.headers["x-computer-use-cache"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["x-computer-use-cache"]


def doctor() -> tuple[bool, str]:
    """Whether `doctor` finds that the upstream can be reached, and what it says."""
    checks = json.loads(commands.run_module("doctor", "--json").stdout)["checks"]
    return next((check["ok"], check["detail"]) for check in checks if check["name"] == "upstream")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR"])
def test_start_trusts_the_authorities_of_the_environment_behind_its_proxy(
    variable: str, provider: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, str(tmp_path if variable == "SSL_CERT_DIR" else tmp_path / "server.pem"))
    monkeypatch.setenv("UPSTREAM_BASE_URL", f"https://{HOST}/v1")
    with ForwardProxy(provider.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with commands.started() as cache:
            assert [ask(cache.url), ask(cache.url)] == [(200, "MISS"), (200, "HIT")]
        assert proxy.asked == [("CONNECT", f"{HOST}:443")]
        if variable == "SSL_CERT_FILE":
            assert doctor()[0]


def test_plain_http_asks_the_proxy_for_the_whole_url(provider: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Upstream()
    monkeypatch.setenv("UPSTREAM_BASE_URL", f"http://{HOST}:8080/v1")
    with ForwardProxy(plain.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with commands.started() as cache:
            assert ask(cache.url) == (200, "MISS")
    assert proxy.asked == [("POST", f"http://{HOST}:8080/v1/chat/completions")]
    assert plain.asked[0].headers["host"] == f"{HOST}:8080"
    plain.close()


def test_no_proxy_and_loopback_upstreams_are_reached_directly(
    provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Upstream(host="127.0.0.2")
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{commands.free_port()}")
    monkeypatch.setenv("UPSTREAM_BASE_URL", plain.url)
    with commands.started() as cache:
        assert ask(cache.url) == (200, "MISS")
    plain.close()


CALL = """
import json, os, urllib.request
body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "ping"}]}).encode()
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot connect to 0.0.0.0")
@pytest.mark.parametrize(("exceptions", "direct"), [("0.0.0.0", True), ("other.example", False)])
def test_run_reaches_the_upstream_of_its_base_url_directly_if_no_proxy_names_it(
    exceptions: str, direct: bool, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Upstream()
    monkeypatch.setenv("NO_PROXY", exceptions)
    with ForwardProxy(plain.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        base = f"http://0.0.0.0:{plain.port}/v1"  # not by its name the loopback, which is never asked through a proxy
        done = run_around("--base-url", "--upstream", base, "--", sys.executable, "-c", CALL)
    assert done.returncode == 0, done.stderr
    assert len(proxy.asked) == (0 if direct else 1)
    plain.close()


def test_doctor_names_the_authority_that_is_missing(provider: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_BASE_URL", f"https://{HOST}/v1")
    with ForwardProxy(provider.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        ok, detail = doctor()
    assert not ok
    assert "ertificate verify failed" in detail
    assert f"It is signed by the authority CN={HOST}. Name a file" in detail
    assert "SSL_CERT_FILE" in detail


def test_doctor_says_that_a_proxy_refuses(provider: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_BASE_URL", f"https://{HOST}/v1")
    with ForwardProxy(provider.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("me:", "you:"))
        ok, detail = doctor()
    assert (ok, "407" in detail) == (False, True)
