"""Modes other than reverse: hosts of CACHE_HOSTS are decrypted and cached, everything else passes as it is."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from computer_use_cache.formats import sse
from computer_use_cache.formats.responses import Responses
from support import FAKE_KEY, Answer, Proxy, Upstream, always, answer_chat, chat_request, response, running_proxy
from tls import certificate
from tunnels import Tunnels, running_tunnels

REGULAR, SOCKS, CHAINED, REVERSE = "HTTP(S) proxy", "SOCKS v5 proxy", "HTTP(S) proxy (upstream mode)", "reverse proxy"
FORWARD = [REGULAR, SOCKS, CHAINED]


@dataclass
class Site:
    """A proxy with several modes, and a TLS server that is a cached host by the name of localhost only."""

    proxy: Proxy
    provider: Upstream
    tunnels: Tunnels
    own: bytes
    """The provider's own certificate (DER)."""
    authority: Path

    def address(self, mode: str) -> tuple[str, int]:
        """Where a mode listens, by what mitmproxy calls it in its log."""
        pattern = re.compile(re.escape(mode) + r"(?: to \S+)? listening at (\S+):([0-9]+)\.")
        return next((found[1], int(found[2])) for line in list(self.proxy.log) if (found := pattern.search(line)))

    def connect(self, mode: str, host: str, port: int) -> socket.socket:
        """A connection to `host` through a forward proxy."""
        client = socket.create_connection(self.address(mode), timeout=30)
        if mode == SOCKS:
            client.sendall(b"\5\1\0")
            assert _read(client, 2) == b"\5\0"
            client.sendall(b"\5\1\0\3" + bytes([len(host)]) + host.encode() + port.to_bytes(2))
            assert _read(client, 10)[1] == 0
        else:
            client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += _read(client, 1)
            assert b" 200 " in head
        return client

    def certificate(self, mode: str, host: str, name: str | None) -> bytes:
        """The certificate that a client gets which connects to `host` and asks for `name`."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(self.connect(mode, host, self.provider.port), server_hostname=name) as client:
            return client.getpeercert(binary_form=True) or b""

    def ask(self, mode: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A request to the cached host, by a client that trusts mitmproxy's authority and no other."""
        context = ssl.create_default_context(cafile=self.authority)
        raw = self.connect(mode, "localhost", self.provider.port)
        connection = http.client.HTTPConnection("localhost", self.provider.port)
        connection.sock = context.wrap_socket(raw, server_hostname="localhost")
        return _ask(connection, method, path, body, headers)

    def ask_reverse(self, body: Any) -> Answer:
        """A chat request addressed to the proxy itself."""
        connection = http.client.HTTPConnection(*self.address(REVERSE), timeout=30)
        return _ask(connection, "POST", "/v1/chat/completions", body)


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        assert more, "the connection was closed"
        data += more
    return data


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: dict[str, str] | None = None
) -> Answer:
    with contextlib.closing(connection):
        sent = {"authorization": f"Bearer {FAKE_KEY}"} | (headers or {})
        connection.request(method, path, json.dumps(body) if body else None, sent)
        answer = connection.getresponse()
        return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    provider = Upstream(tls=certificate(folder))
    with running_tunnels() as tunnels:
        # mitmproxy refuses port 0 for two modes on one address.
        modes = ["regular@127.0.0.2:0", "socks5@127.0.0.3:0"]
        modes += [f"upstream:{tunnels.url}@127.0.0.4:0"]
        arguments = [part for mode in modes for part in ("--mode", mode)]
        arguments += ["--set", f"ssl_verify_upstream_trusted_ca={folder}/server.pem"]
        url = f"https://localhost:{provider.port}/v1"
        with running_proxy(folder, url, *arguments, CACHE_HOSTS="localhost") as proxy:
            for mode in (REVERSE, REGULAR, SOCKS, CHAINED):
                proxy.log.wait_for(f"{mode} to " if mode == REVERSE else f"{mode} listening")
            _, begin, own = (folder / "server.pem").read_text().partition("-----BEGIN CERTIFICATE-----")
            yield Site(
                proxy,
                provider,
                tunnels,
                ssl.PEM_cert_to_DER_cert(begin + own),
                folder / "mitmproxy" / "mitmproxy-ca-cert.pem",
            )
    provider.close()


@pytest.fixture(autouse=True)
def answers_chat(site: Site) -> None:
    site.provider.handler = answer_chat
    site.provider.asked.clear()


@pytest.mark.parametrize("mode", FORWARD)
@pytest.mark.parametrize(
    ("host", "name", "is_tunnelled"),
    [
        ("localhost", "localhost", False),
        ("127.0.0.1", "LOCALHOST", False),  # clients that resolve names themselves
        ("localhost", None, False),
        ("127.0.0.1", None, True),
        ("127.0.0.1", "other.example", True),
        ("localhost", "other.example", True),
        ("localhost", "localhost.other.example", True),
    ],
)
def test_another_host_keeps_its_own_certificate(
    site: Site, mode: str, host: str, name: str | None, is_tunnelled: bool
) -> None:
    assert (site.certificate(mode, host, name) == site.own) is is_tunnelled


def test_a_host_that_is_not_decrypted_is_named_with_its_setting(site: Site) -> None:
    site.certificate(REGULAR, "127.0.0.1", "unlisted.example")
    assert {"host": "unlisted.example", "route": "", "setting": "CACHE_HOSTS=+unlisted.example", "count": 1} in (
        site.proxy.stats()["unseen"]
    )


@pytest.mark.parametrize("mode", FORWARD)
def test_an_entry_is_a_hit_whichever_way_it_was_recorded(site: Site, mode: str) -> None:
    recorded_reverse, recorded_here = chat_request(f"reverse, then {mode}"), chat_request(f"{mode}, then reverse")
    assert site.ask_reverse(recorded_reverse).cache == "MISS"
    assert site.ask(mode, "POST", "/v1/chat/completions", recorded_reverse).cache == "HIT"
    miss = site.ask(mode, "POST", "/v1/chat/completions", recorded_here)
    assert (miss.status, miss.cache) == (200, "MISS")
    assert site.provider.asked[-1].headers["authorization"] == f"Bearer {FAKE_KEY}"
    hit = site.ask_reverse(recorded_here)
    assert (hit.cache, hit.body) == ("HIT", miss.body)
    assert len(site.provider.asked) == 2


@pytest.mark.parametrize("mode", FORWARD)
def test_responses_over_a_websocket_are_hits_too(site: Site, mode: str) -> None:
    answer = {"id": "resp_1", "object": "response", "status": "completed", "output": [{"type": "function_call"}]}
    stream = b"".join(sse.encode(Responses().explode(answer, with_usage=True)))
    site.provider.handler = always(response(stream, content_type="text/event-stream"))
    message = {"type": "response.create", "model": "m", "input": mode}
    trusted = ssl.create_default_context(cafile=site.authority)
    for _ in range(2):
        raw = site.connect(mode, "localhost", site.provider.port)
        host = f"localhost:{site.provider.port}"
        origin = Origin(f"https://{host}")
        client = connect(f"wss://{host}/v1/responses", sock=raw, ssl=trusted, origin=origin, proxy=None)
        with client:
            client.send(json.dumps(message))
            events = [json.loads(client.recv(timeout=30)) for _ in range(5)]
        assert events[-1] | {"sequence_number": 0} == {
            "type": "response.completed",
            "sequence_number": 0,
            "response": answer,
        }
    [asked] = site.provider.asked
    assert (asked.method, asked.headers["host"]) == ("POST", f"localhost:{site.provider.port}")


def test_what_is_forwarded_in_upstream_mode_goes_through_that_proxy(site: Site) -> None:
    for host, name in (("localhost", "localhost"), ("127.0.0.1", "other.example")):
        site.tunnels.asked.clear()
        site.certificate(CHAINED, host, name)
        if host == "localhost":
            site.ask(CHAINED, "GET", "/v1/models")
        assert site.tunnels.asked == [f"{host}:{site.provider.port}"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/stats", "/cache/stats", "/metrics", "/v1/models"])
def test_the_paths_of_an_intercepted_host_are_its_own(site: Site, path: str) -> None:
    site.provider.handler = always(response(b'{"from": "the provider"}'))
    answer = site.ask(REGULAR, "GET", path)
    assert (answer.json(), answer.cache) == ({"from": "the provider"}, "BYPASS")
    assert [asked.path for asked in site.provider.asked] == [path]


def test_a_web_pages_call_passes_by(site: Site) -> None:
    body = chat_request("from a page")
    for _ in range(2):
        answer = site.ask(REGULAR, "POST", "/v1/chat/completions", body, {"origin": "https://page.example"})
        assert (answer.status, answer.cache) == (200, "")
    assert len(site.provider.asked) == 2


def test_controls_are_read_and_removed(site: Site) -> None:
    body = chat_request("in a namespace")
    answer = site.ask(REGULAR, "POST", "/v1/chat/completions", body, {"x-cache-namespace": "n", "x-cache-ttl": "60"})
    assert answer.cache == "MISS"
    assert not [name for name in site.provider.asked[-1].headers if name.startswith("x-cache")]
    assert site.ask(REGULAR, "POST", "/v1/chat/completions", body).cache == "MISS"
    offline = site.ask(REGULAR, "POST", "/v1/chat/completions", chat_request("new"), {"x-cache-mode": "offline"})
    assert offline.status == 404


@pytest.mark.parametrize("mode", FORWARD)
def test_traffic_that_is_not_tls_passes_unchanged(site: Site, mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for sent, answered in (
            (b"SSH-2.0-client\r\n", b"SSH-2.0-server\r\n"),
            (b"\x00\x01\x02", b"\xff\xfe"),
            # Neither HTTP that is malformed nor one that asks for a cached host by its header is read.
            (
                b"GET / HTTP/9.9\r\n folded: yes\r\nHost: localhost\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nfolded:\r\n yes\r\n\r\n",
            ),
        ):
            with site.connect(mode, "127.0.0.1", server.getsockname()[1]) as client:
                client.sendall(sent)
                accepted, _ = server.accept()
                with accepted:
                    assert _read(accepted, len(sent)) == sent
                    accepted.sendall(answered)
                    assert _read(client, len(answered)) == answered


def test_a_plain_request_to_another_host_is_forwarded_piece_by_piece(site: Site) -> None:
    provider = Upstream()
    half = provider.new_event()

    async def in_two_pieces(asked: Any, send: Any) -> None:
        await send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none")
        await half.wait()
        await send(b"two")

    provider.handler = in_two_pieces
    with contextlib.closing(http.client.HTTPConnection(*site.address(REGULAR), timeout=30)) as connection:
        url = f"http://127.0.0.1:{provider.port}/v1/chat/completions"
        connection.request("POST", url, json.dumps(chat_request()), {"x-cache-namespace": "stays"})
        answer = connection.getresponse()
        assert answer.read(3) == b"one"
        half.open()
        assert answer.read() == b"two"
        assert "x-computer-use-cache" not in answer.headers
    assert provider.asked[0].headers["x-cache-namespace"] == "stays"
    provider.close()


def test_mitmproxys_own_lists_of_hosts_are_heeded(tmp_path: Path, site: Site) -> None:
    with running_proxy(
        tmp_path,
        f"https://localhost:{site.provider.port}/v1",
        *("--mode", "regular@127.0.0.2:0", "--set", "allow_hosts=127.0.0.1", "--set", "ssl_insecure=true"),
        CACHE_HOSTS="localhost",
    ) as proxy:
        proxy.log.wait_for(f"{REGULAR} listening")
        other = Site(proxy, site.provider, site.tunnels, site.own, tmp_path)
        assert other.certificate(REGULAR, "127.0.0.1", "other.example") != site.own
