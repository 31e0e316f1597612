"""Hostile and broken requests: each gets a clear refusal or passes harmlessly, and nothing else is touched by it."""

from __future__ import annotations

import gzip
import json
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import brotli
import pytest
import zstandard

from computer_use_cache.proxy.content_coding import LARGEST_REQUEST
from support import FAKE_KEY, Asked, Proxy, Send, Upstream, chat_request, completion, response, running_proxy

CHAT = "/v1/chat/completions"


@pytest.fixture
def upstream(upstream: Upstream) -> Upstream:
    """An upstream that answers with what it was asked, so that another's answer is seen."""

    async def echo(asked: Asked, send: Send) -> None:
        said = f"{asked.method} {asked.path} {asked.body.decode('latin-1')[:200]}"
        await send(response(json.dumps(completion(said)).encode()))

    upstream.handler = echo
    return upstream


class Raw:
    """A connection over which a test sends bytes of its own."""

    def __init__(self, socket_: socket.socket) -> None:
        self.socket = socket_
        self.reader = socket_.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes] | None:
        """The next answer's status and body; None when the connection is closed instead."""
        line = self.reader.readline()
        if not line:
            return None
        headers = dict(iter(self._header, None))
        return int(line.split()[1]), self.reader.read(int(headers[b"content-length"]))

    def _header(self) -> tuple[bytes, bytes] | None:
        name, colon, value = self.reader.readline().partition(b":")
        return (name.lower(), value.strip()) if colon else None


@contextmanager
def raw(proxy: Proxy) -> Iterator[Raw]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection:
        client = Raw(connection)
        with closing(client.reader):
            yield client


def head(line: str = "GET /v1/models HTTP/1.1", *headers: bytes, host: bytes = b"Host: 127.0.0.1") -> bytes:
    return b"\r\n".join([line.encode(), *filter(None, [host]), *headers, b"", b""])


POST = f"POST {CHAT} HTTP/1.1"
UPLOAD = "POST /v1/files HTTP/1.1"
"""Passes the cache: whatever is not refused for its form goes upstream."""
SMUGGLED = head("GET /v1/smuggled HTTP/1.1")
CHUNKED = b"Transfer-Encoding: chunked"

REFUSED: dict[str, bytes] = {
    "length and chunked": head(UPLOAD, b"Content-Length: 4", CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
    "chunked and length": head(UPLOAD, CHUNKED, b"Content-Length: 4") + b"0\r\n\r\n" + SMUGGLED,
    "two lengths": head(UPLOAD, b"Content-Length: 2", b"Content-Length: 50") + b"{}" + SMUGGLED,
    "a list of lengths": head(UPLOAD, b"Content-Length: 2, 2") + b"{}" + SMUGGLED,
    "a signed length": head(UPLOAD, b"Content-Length: +2") + b"{}" + SMUGGLED,
    "a negative length": head(UPLOAD, b"Content-Length: -2") + SMUGGLED,
    "a length in hex": head(UPLOAD, b"Content-Length: 0x2") + b"{}" + SMUGGLED,
    "xchunked": head(UPLOAD, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n" + SMUGGLED,
    "chunked, identity": head(UPLOAD, b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + SMUGGLED,
    "chunked twice": head(UPLOAD, CHUNKED, CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
    "chunked in HTTP/1.0": head("POST /v1/files HTTP/1.0", CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
    "a space before the colon": head(UPLOAD, b"Content-Length : 2") + b"{}" + SMUGGLED,
    "a folded header": head(UPLOAD, b"X-A: b", b" Content-Length: 2") + SMUGGLED,
    "a folded first header": head(UPLOAD, host=b" Host: 127.0.0.1"),
    "a NUL in a value": head(UPLOAD, b"X-A: b\0c"),
    "a bare CR in a value": head(UPLOAD, b"X-A: b\rContent-Length: 99"),
    "a control character in a value": head(UPLOAD, b"X-A: b\x1b[31m"),
    "a byte above 0x7f in a name": head(UPLOAD, b"X-\xe9: b"),
    "no name": head(UPLOAD, b": b"),
    "no colon": head(UPLOAD, b"X-A"),
    "two Hosts": head(UPLOAD, b"Host: evil.example"),
    "the same Host twice": head(UPLOAD, b"Host: 127.0.0.1"),
    "no Host": head(UPLOAD, host=b""),
    "no Host in HTTP/1.0": head("POST /v1/files HTTP/1.0", host=b""),
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/1.2": head("GET /v1/models HTTP/1.2"),
    "HTTP/2.0 in clear": head("GET /v1/models HTTP/2.0"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a fourth word in the request line": head("GET /v1/models x HTTP/1.1"),
    "a method that is no token": head("G(T /v1/models HTTP/1.1"),
    "raw bytes in the target": head("GET /v1/models\u00e9 HTTP/1.1"),
    "CONNECT": head("CONNECT api.openai.com:443 HTTP/1.1"),
    "an authority as target": head("GET api.openai.com:443 HTTP/1.1"),
    "another host as target": head("GET http://evil.example/v1/models HTTP/1.1"),
    "another scheme as target": head("GET ftp://127.0.0.1/v1/models HTTP/1.1"),
    "a user in the target": head("GET http://127.0.0.1@evil.example/v1/models HTTP/1.1"),
    "a user in the Host": head(host=b"Host: localhost:8000@evil.example"),
    "a path in the Host": head(host=b"Host: localhost/evil.example"),
    "TRACE": head("TRACE /v1/models HTTP/1.1"),
    "a bad chunk length": head(POST, CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": head(POST, CHUNKED) + b"1\r\n{}\r\n0\r\n\r\n",
    "trailers": head(POST, CHUNKED) + b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a header of 1 MB": head(UPLOAD, b"X-A: " + b"a" * 2**20),
    "a head without end": b"GET /v1/models HTTP/1.1\r\n" + b"X-A: b\r\n" * 2**17,
    "a chunk line without end": head(POST, CHUNKED) + b"2;" + b"a" * 2**20,
    "bytes where gzip is": head(POST, b"Content-Encoding: gzip", b"Content-Length: 2") + b"{}",
    "an unknown coding": head(POST, b"Content-Encoding: br", b"Content-Length: 2") + b"{}",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Upstream]]:
    """One proxy for all of the table: none of it may leave a mark."""
    upstream = Upstream()

    async def models(asked: Asked, send: Send) -> None:
        await send(response(b'{"data": []}'))

    upstream.handler = models
    with running_proxy(tmp_path_factory.mktemp("proxy"), upstream.url) as proxy:
        yield proxy, upstream
    upstream.close()


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_ambiguous_or_malformed_is_refused_and_nothing_of_it_goes_upstream(
    shared: tuple[Proxy, Upstream], data: bytes
) -> None:
    proxy, upstream = shared
    with raw(proxy) as other, raw(proxy) as hostile:
        other.send(head())
        before = len(upstream.asked)
        assert other.answer() == (200, b'{"data": []}')
        hostile.send(data)
        answer = hostile.answer()
        assert answer
        assert 400 <= answer[0] < 500
        assert json.loads(answer[1])["error"]["message"]
        hostile.socket.shutdown(socket.SHUT_WR)
        rest = hostile.answer()
        assert rest is None or 400 <= rest[0] < 500
        other.send(head())
        assert other.answer() == (200, b'{"data": []}'), "another client is not affected"
    assert {asked.path for asked in upstream.asked[before:]} == {"/v1/models"}
    assert all(asked.headers.keys() == {"host"} for asked in upstream.asked[before:])


def test_an_upload_that_is_malformed_halfway_is_refused_and_cut(proxy: Proxy, upstream: Upstream) -> None:
    with raw(proxy) as client:
        client.send(head(UPLOAD, CHUNKED) + b"2\r\n{}\r\nzz\r\n" + SMUGGLED)
        assert (client.answer() or (0, b""))[0] == 400
    assert proxy.ask("GET", "/v1/models").status == 200
    assert [asked.path for asked in upstream.asked] == ["/v1/models"]


def test_lines_that_end_in_a_bare_lf_are_the_same_to_all(proxy: Proxy, upstream: Upstream) -> None:
    with raw(proxy) as client:
        client.send(head().replace(b"\r\n", b"\n").replace(b"\n\n", b"\nX-A: b\n\n"))
        assert client.answer()
    assert upstream.asked[0].headers.keys() == {"host", "x-a"}, "mended on the way (RFC 9112, section 2.2)"


def test_empty_lines_before_a_request_are_ignored(proxy: Proxy, upstream: Upstream) -> None:
    body = json.dumps(chat_request()).encode()
    with raw(proxy) as client:
        for empty in (b"\r\n", b"\r\n\r\n", b"\n", b"\n" * 10_000):
            client.send(empty + head(POST, b"Content-Length: %d" % len(body)) + body)
            assert (client.answer() or (0, b""))[0] == 200


def test_an_upgrade_that_would_open_a_tunnel_is_left_out(proxy: Proxy, upstream: Upstream) -> None:
    upgrade = (b"Connection: Upgrade, HTTP2-Settings, Anthropic-Version", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    with raw(proxy) as client:
        for line in ("POST /v1/files HTTP/1.1", "GET /v1/models HTTP/1.1"):
            client.send(head(line, *upgrade, b"Anthropic-Version: 1", b"Content-Length: 2") + b"{}")
            assert (client.answer() or (0, b""))[0] == 200
    for asked in upstream.asked:
        assert asked.headers.keys() == {"host", "content-length", "anthropic-version"}


def test_requests_sent_ahead_get_their_own_answers_in_order(proxy: Proxy, upstream: Upstream) -> None:
    inner = SMUGGLED.decode()
    bodies = [json.dumps(chat_request(f"{inner} {number}")).encode() for number in (0, 1, 0)]
    with raw(proxy) as client:
        client.send(b"".join(head(POST, b"Content-Length: %d" % len(body)) + body for body in bodies))
        answers = [client.answer() or (0, b"") for _ in bodies]
    for body, (status, answer) in zip(bodies, answers, strict=True):
        assert status == 200
        assert json.loads(answer)["choices"][0]["message"]["content"] == f"POST {CHAT} {body.decode()}"[: 200 + 26]
    assert len(upstream.asked) == 2, "the body that looks like a request is none"


def test_what_is_sent_ahead_of_an_answer_is_bounded(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()

    async def wait(asked: Asked, send: Send) -> None:
        await gate.wait()

    upstream.handler = wait
    with raw(proxy) as client:
        client.send(head())
        upstream.wait_for(1)
        client.send(head() * 2**14)
        assert (client.answer() or (0, b""))[0] == 400
    gate.open()


def peak_memory(proxy: Proxy) -> int:
    """The most memory that the proxy has had, in bytes."""
    status = Path(f"/proc/{proxy.process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the memory of a process")
@pytest.mark.parametrize("refused", ["two Hosts", "HTTP/1.2", "a head without end"])
def test_what_follows_a_refused_head_is_dropped(proxy: Proxy, refused: str) -> None:
    before = peak_memory(proxy)
    with raw(proxy) as client:
        client.send(REFUSED[refused])
        assert (client.answer() or (0, b""))[0] >= 400
        for _ in range(16):
            client.send(b"x" * 2**22)
    proxy.log.wait_for("client disconnect")
    assert peak_memory(proxy) - before < 2**25, "64 MB were sent"


def test_a_head_that_comes_byte_by_byte_holds_nobody_up(proxy: Proxy) -> None:
    data = head(POST, b"Content-Length: 2")
    with raw(proxy) as slow:
        slow.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(data)):
            slow.send(data[position : position + 1])
            if position % 20 == 0:
                assert proxy.ask("GET", "/readyz").status == 200
        slow.send(b"{{")
        assert (slow.answer() or (0, b""))[0] == 400


def test_a_thousand_headers_pass(proxy: Proxy, upstream: Upstream) -> None:
    with raw(proxy) as client:
        client.send(head("GET /v1/models HTTP/1.1", *(b"X-%d: v" % number for number in range(1000))))
        assert (client.answer() or (0, b""))[0] == 200
    assert len(upstream.asked[0].headers) == 1001


def test_a_client_that_leaves_amid_its_body_leaves_nothing(proxy: Proxy, upstream: Upstream) -> None:
    body = json.dumps(chat_request()).encode()
    with raw(proxy) as client:
        client.send(head(POST, b"Content-Length: %d" % len(body)) + body[:-5])
    assert proxy.chat().cache == "MISS"
    assert len(upstream.asked) == 1


def test_a_client_that_never_reads_holds_nobody_up(proxy: Proxy, upstream: Upstream) -> None:
    async def large(asked: Asked, send: Send) -> None:
        await send(response(json.dumps(completion("x" * 8_000_000)).encode()))

    upstream.handler = large
    body = json.dumps(chat_request()).encode()
    with raw(proxy) as deaf:
        for _ in range(5):
            deaf.send(head(POST, b"Content-Length: %d" % len(body)) + body)
        upstream.wait_for(1)
        assert proxy.chat().status == 200
        assert proxy.chat().cache == "HIT"


# -- bodies

ODD: dict[str, bytes] = {
    "10,000 deep": b'{"model": "m", "messages": [1], "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects deep": b'{"model": "m", "messages": [1], "x": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "1e400": b'{"model": "m", "messages": [1], "x": 1e400}',
    "1e999999999999": b'{"model": "m", "messages": [1], "x": 1e999999999999999999999}',
    "an integer of 5,000 digits": b'{"model": "m", "messages": [1], "x": ' + b"9" * 5000 + b"}",
    "a lone surrogate": b'{"model": "m", "messages": ["\\ud800"]}',
    "a lone surrogate as model": b'{"model": "\\ud800", "messages": [1]}',
    "line ends in the model": b'{"model": "m\\r\\nX-Evil: 1", "messages": [1]}',
    "the model twice": b'{"model": "allowed", "model": "denied", "messages": [1]}',
    "a NUL in a string": b'{"model": "m", "messages": ["\\u0000"]}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_odd_json_reaches_the_provider_as_it_is(proxy: Proxy, upstream: Upstream, body: bytes) -> None:
    for _ in range(2):
        answer = proxy.ask("POST", CHAT, body)
        assert answer.status == 200
        assert answer.cache in ("MISS", "HIT", "BYPASS")
        assert "x-evil" not in answer.headers
    assert all(asked.body == body for asked in upstream.asked)
    assert proxy.ask("GET", "/cache/stats").status == proxy.ask("GET", "/metrics").status == 200
    assert proxy.ask("GET", "/cache/entries").status == 200


@pytest.mark.parametrize(
    "body",
    [b'{"model": "m", "messages": [NaN]}', b'{"x": -Infinity}', b'{"model": "\xff"}', b"\xfe\xff\0{", b"\0", b"{}{}"],
)
def test_a_message_that_is_not_json_is_refused(proxy: Proxy, upstream: Upstream, body: bytes) -> None:
    answer = proxy.ask("POST", CHAT, body)
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert upstream.asked == []


def test_a_member_that_is_there_twice_never_meets_the_cache(proxy: Proxy, upstream: Upstream) -> None:
    """A provider may take the first one and this cache the last: its answer must not be another request's hit."""
    plain = b'{"messages": [1], "model": "good"}'
    double = b'{"model": "evil", "messages": [1], "model": "good"}'
    assert proxy.ask("POST", CHAT, double).headers["x-computer-use-cache-reason"].endswith("a member occurs twice")
    assert [proxy.ask("POST", CHAT, body).cache for body in (plain, double, plain)] == ["MISS", "BYPASS", "HIT"]
    assert upstream.asked[0].body == double


def test_a_body_that_is_too_large_is_refused_while_it_arrives(proxy: Proxy, upstream: Upstream) -> None:
    with raw(proxy) as client:
        client.send(head("POST /v1/messages HTTP/1.1", b"Content-Length: %d" % (LARGEST_REQUEST + 1)) + b"{")
        status, body = client.answer() or (0, b"")
        assert (status, json.loads(body)["type"]) == (413, "error"), "before it is all there"
    with raw(proxy) as client:
        client.send(head(POST, CHUNKED))
        for _ in range(LARGEST_REQUEST // 2**22 + 1):
            client.send(b"%x\r\n%s\r\n" % (2**22, b" " * 2**22))
        client.send(b"0\r\n\r\n")
        assert (client.answer() or (0, b""))[0] == 413
        client.send(head())
        assert (client.answer() or (0, b""))[0] == 200, "the next request on it gets its own answer"
    assert [asked.path for asked in upstream.asked] == ["/v1/models"]


def test_the_body_of_a_refused_request_is_discarded_as_it_arrives(proxy: Proxy, upstream: Upstream) -> None:
    with raw(proxy) as client:
        client.send(head(POST, CHUNKED, host=b"Host: evil.example"))
        for _ in range(LARGEST_REQUEST // 2**22 + 1):
            client.send(b"%x\r\n%s\r\n" % (2**22, b" " * 2**22))
        client.send(b"0\r\n\r\n")
        assert (client.answer() or (0, b""))[0] == 403, "and not 413: it was never counted"
    assert upstream.asked == []


def test_an_upload_past_the_cache_is_not_bounded(proxy: Proxy, upstream: Upstream) -> None:
    with raw(proxy) as client:
        client.send(head("POST /v1/files HTTP/1.1", b"Content-Length: %d" % (LARGEST_REQUEST + 1)) + b"x")
        client.send(b" " * LARGEST_REQUEST)
        assert (client.answer() or (0, b""))[0] == 200
    assert len(upstream.asked[0].body) == LARGEST_REQUEST + 1


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:9]) + gzip.compress(b"") + gzip.compress(data[9:]),
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_a_coded_request_is_read_and_a_bomb_is_not(proxy: Proxy, upstream: Upstream, coding: str) -> None:
    headers = {"Content-Encoding": coding}
    body = json.dumps(chat_request()).encode()
    sent = CODINGS[coding](body)
    assert [proxy.ask("POST", CHAT, data, headers).cache for data in (sent, sent)] == ["MISS", "HIT"]
    assert proxy.ask("POST", CHAT, body).cache == "HIT"
    assert upstream.asked[0].body == sent
    bomb = CODINGS[coding](b" " * (LARGEST_REQUEST + 1))
    assert proxy.ask("POST", CHAT, bomb, headers).status == 413
    assert proxy.ask("POST", CHAT, sent + sent, headers).status == 400, "two requests in one body"
    assert proxy.ask("POST", CHAT, sent[:-1], headers).status == 400, "cut off"


def test_a_body_of_very_many_members_is_refused(proxy: Proxy, upstream: Upstream) -> None:
    sent = gzip.compress(b"") * 1000 + gzip.compress(json.dumps(chat_request()).encode())
    assert proxy.ask("POST", CHAT, sent, {"Content-Encoding": "gzip"}).status == 400
    assert upstream.asked == []


# -- what comes back out


@pytest.mark.parametrize("value", ["run\u00e9", "a" * 201, " ", "a\tb"])
def test_a_namespace_that_could_break_a_header_is_refused(proxy: Proxy, value: str) -> None:
    answer = proxy.ask("POST", CHAT, json.dumps(chat_request()).encode(), {"X-Cache-Namespace": value})
    assert answer.status == 400


def test_what_a_client_names_comes_back_in_headers_harmlessly(tmp_path: Path, upstream: Upstream) -> None:
    model = "evil\r\nSet-Cookie: a=b\r\n\r\n\u2028\u00e9"
    with running_proxy(tmp_path, upstream.url, CACHE_MODEL_ALLOWLIST="good*", INCLUDE_CACHE_METADATA="1") as proxy:
        answer = proxy.post(CHAT, chat_request() | {"model": model})
        assert answer.cache == "BYPASS"
        assert "set-cookie" not in answer.headers
        assert re.fullmatch("[ -~]+", answer.headers["x-computer-use-cache-reason"])
        for name in ("X-Cache-Mode", "Origin", "X-Cache-TTL"):
            refused = proxy.chat(headers={name: "\u00e9\u00ff", "Authorization": f"Bearer {FAKE_KEY}"})
            assert refused.status in (400, 403)
