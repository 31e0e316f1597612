"""The fast path answers byte for byte like the normal path and counts the same; what it remembers is never stale.

It is in mitmproxy's layers, and, where `start` runs the proxy, before them.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import re
import signal
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import corpus
import support
from forked import lean_mitmdump, mitmdump
from support import (
    FAKE_KEY,
    Proxy,
    Upstream,
    always,
    chat_request,
    completion,
    response,
    running_proxy,
)

CHAT = "/v1/chat/completions"
LAST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
"""Ends a connection, so that all that came can be read to its end."""
LIMIT = 200_000
"""Characters of a request that is looked at."""

type Message = tuple[int, dict[str, str], bytes]


WAYS = {"normal": (mitmdump, "off"), "in a layer": (mitmdump, "on"), "before the layers": (lean_mitmdump, "on")}


@contextlib.contextmanager
def running_ways(folder: Path, upstream: Upstream, **environment: str) -> Iterator[dict[str, Proxy]]:
    """The same cache three times: without the fast path, which comes first, and with it in either place."""
    given = {"CACHE_CLIENT_TOKEN": FAKE_KEY, "CACHE_MAX_INPUT_CHARS": str(LIMIT)} | environment
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                running_proxy(folder / name, upstream.url, program=program, CACHE_FAST_LANE=lane, **given)
            )
            for name, (program, lane) in WAYS.items()
        }


@pytest.fixture
def ways(tmp_path: Path, upstream: Upstream) -> Iterator[dict[str, Proxy]]:
    with running_ways(tmp_path, upstream) as running:
        yield running


def assert_all_say_the_same(ways: dict[str, Proxy], pieces: list[bytes], what: object) -> list[Message]:
    """The answers, which are the same whichever way they came."""
    normal, *others = ((name, talk(proxy, pieces)) for name, proxy in ways.items())
    for name, answers in others:
        assert answers == normal[1], (what, name)
    return normal[1]


def assert_all_counted_the_same(ways: dict[str, Proxy]) -> None:
    normal, *others = map(counts, ways.values())
    assert others == [normal] * len(others)


def request(body: Any = None, *headers: bytes, line: str = f"POST {CHAT} HTTP/1.1", token: str = FAKE_KEY) -> bytes:
    """A request's bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body or chat_request()).encode()
    given = (b"Host: 127.0.0.1", b"Authorization: Bearer " + token.encode(), b"Content-Length: %d" % len(data))
    return b"\r\n".join((line.encode(), *given, *headers, b"", data))


def head(*headers: bytes, line: str = f"POST {CHAT} HTTP/1.1", body: bytes = b"") -> bytes:
    """A request with no headers but these."""
    return b"\r\n".join((line.encode(), b"Authorization: Bearer " + FAKE_KEY.encode(), *headers, b"", body))


def talk(proxy: Proxy, pieces: Iterable[bytes]) -> list[Message]:
    """All answers to what is sent over one connection."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        reader = connection.makefile("rb")
        return list(iter(lambda: read_message(reader), None))  # type: ignore[arg-type]


def read_message(reader: Any) -> Message | None:
    """The next answer, without what depends on the moment."""
    line = reader.readline()
    if not line:
        return None
    headers: dict[str, str] = {}
    while (text := reader.readline().decode("latin-1").strip()) != "":
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        body = reader.read(int(headers.get("content-length", "0")))
    if headers.get("x-computer-use-cache") == "MISS":  # the nearest entry is named when it was found in time
        headers = {name: value for name, value in headers.items() if not name.endswith("-reason")}
    if "age" in headers:
        headers |= dict.fromkeys((name for name in headers if name.endswith("age")), "now")
    headers["cache-status"] = re.sub(r"ttl=\d+", "ttl", headers.get("cache-status", ""))
    return int(line.split()[1]), headers, re.sub(rb'"uptime[^,}]*', b"", body)


def counts(proxy: Proxy) -> Any:
    """The statistics, without what depends on the moment or the folder."""
    stats = proxy.ask("GET", "/cache/stats", headers={"authorization": f"Bearer {FAKE_KEY}"}).json()
    for name in ("bytes", "last_updated_at", "cache_dir", "history"):
        del stats[name]
    for model in stats["models"].values():
        del model["saved"]["seconds"], model["spent"]["seconds"]
        for book in (model["saved"], model["spent"]):
            if book["usd"] is not None:
                book["usd"] = round(book["usd"], 9)  # the order in which fractions are added differs
    return stats


PING = chat_request()
CASES: dict[str, bytes] = {
    "a hit": request(),
    "the same hit again": request(),
    "two in one piece": request() * 2,
    "a hit and a miss": request() + request(chat_request("other")) + request(),
    "a local route between": request() + LAST.replace(b"Connection: close\r\n", b"") + request(),
    "another order of members": request(dict(reversed(PING.items()))),
    "streamed": request(PING | {"stream": True}),
    "streamed with usage": request(PING | {"stream": True, "stream_options": {"include_usage": True}}),
    "a query": request(line=f"POST {CHAT}?a=b HTTP/1.1"),
    "an empty query": request(line=f"POST {CHAT}? HTTP/1.1"),
    "an escaped path": request(line="POST /v1/chat/%63ompletions HTTP/1.1"),
    "dots in the path": request(line="POST /v1/./chat/../chat/completions HTTP/1.1"),
    "two slashes": request(line="POST //v1/chat/completions HTTP/1.1"),
    "a fragment": request(line=f"POST {CHAT}#x HTTP/1.1"),
    "without /v1": request(line="POST /chat/completions HTTP/1.1"),
    "an absolute target": request(line=f"POST http://127.0.0.1{CHAT} HTTP/1.1"),
    "a foreign absolute target": request(line=f"POST http://evil.example{CHAT} HTTP/1.1"),
    "HTTP/1.0": request(None, b"Connection: keep-alive", line=f"POST {CHAT} HTTP/1.0"),
    "a lower-case method": request(line=f"post {CHAT} HTTP/1.1"),
    "GET with a body": request(line=f"GET {CHAT} HTTP/1.1"),
    "HEAD": b"HEAD /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "OPTIONS": request(b"", line=f"OPTIONS {CHAT} HTTP/1.1"),
    "no cached API": request(line="POST /v1/files HTTP/1.1"),
    "messages": request(PING | {"max_tokens": 5}, line="POST /v1/messages HTTP/1.1"),
    "a batch": request({"model": "e", "input": ["a", "b"]}, line="POST /v1/embeddings HTTP/1.1"),
    "a wrong token": request(token="none"),
    "no token": request().replace(b"Authorization", b"X-Authorization"),
    "a token in another header": request(None, b"X-Api-Key: " + FAKE_KEY.encode(), token="none"),
    "two tokens": request(None, b"Authorization: Bearer none"),
    "a foreign host": request().replace(b"127.0.0.1", b"evil.example"),
    "a host with a user": request().replace(b"127.0.0.1", b"x@127.0.0.1"),
    "localhost": request().replace(b"127.0.0.1", b"LocalHost:1"),
    "no host": head(b"Content-Length: 2", body=b"{}"),
    "two hosts": request(None, b"Host: 127.0.0.1"),
    "a page": request(None, b"Origin: http://evil.example"),
    "the null origin": request(None, b"Origin: null"),
    "another site's page": request(None, b"Sec-Fetch-Site: cross-site"),
    "the same site's page": request(None, b"Sec-Fetch-Site: same-origin"),
    "closing": request(None, b"Connection: close"),
    "a header for this hop": request(None, b"Connection: X-Cache-Namespace", b"X-Cache-Namespace: n"),
    "keep-alive": request(None, b"Connection: Keep-Alive"),
    "an upgrade": request(None, b"Connection: Upgrade", b"Upgrade: h2c"),
    "chunked": head(b"Host: 127.0.0.1", b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "chunked and a length": request(None, b"Transfer-Encoding: chunked"),
    "two lengths": request(None, b"Content-Length: 3"),
    "no length": head(b"Host: 127.0.0.1"),
    "no body": head(b"Host: 127.0.0.1", b"Content-Length: 0"),
    "a length with zeros": head(b"Host: 127.0.0.1", b"Content-Length: 002", body=b"{}"),
    "a coding": request(None, b"Content-Encoding: gzip"),
    "the identity coding": request(None, b"Content-Encoding: identity"),
    "Expect": request(None, b"Expect: 100-continue"),
    "a folded header": request(None, b"X-A: b", b" c"),
    "a control character": request(None, b"X-A: b\x01c"),
    "a byte above ASCII": request(None, b"X-A: b\xc3\xa9c"),
    "a space before the colon": request(None, b"X-A : b"),
    "bare line feeds": request().replace(b"\r\n", b"\n"),
    "spaces around values": request(None, b"X-Cache-Namespace: \t n \t"),
    "an empty header": request(None, b"X-Cache-Namespace:"),
    "nonsense": b"nonsense\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    "no JSON": request(b"{"),
    "no object": request(b"[]"),
    "a member twice": request(b'{"model": "a", "model": "b", "messages": []}'),
    "not UTF-8": request(b'{"model": "\xff"}'),
    "another number": request(PING | {"temperature": 1.0}),
    "too long": request(chat_request("x" * LIMIT)),
    "longer than is parsed on the loop": request(chat_request("x" * (LIMIT - 1000))),
    "a long head": request(None, b"X-A: " + b"b" * 70_000),
    "a namespace": request(None, b"X-Cache-Namespace: n"),
    "another sample": request(None, b"X-Cache-Sample: 2"),
    "no older than this": request(None, b"X-Cache-Max-Age: 0"),
    "a bypass": request(None, b"X-Cache-Bypass: 1"),
    "no-store": request(None, b"Cache-Control: no-store"),
    "no-cache": request(None, b"Cache-Control: no-cache"),
    "only if cached": request(chat_request("never"), b"Cache-Control: only-if-cached"),
    "a bad control": request(None, b"X-Cache-TTL: soon"),
}


def test_all_ways_answer_the_same_and_count_the_same(ways: dict[str, Proxy], upstream: Upstream) -> None:
    for name, sent in CASES.items():
        for turn in range(4):  # a miss; a hit; one that is remembered; what is remembered
            assert_all_say_the_same(ways, [sent + LAST], (name, turn))
    assert_all_counted_the_same(ways)
    normal, *others = (sum(f"POST {upstream.url}" in line for line in proxy.log) for proxy in ways.values())
    for shown in others:
        assert normal - shown > 50, "a hit on the fast path is no flow, and mitmdump has no line for it"


def test_all_ways_answer_generated_requests_the_same(ways: dict[str, Proxy]) -> None:
    choose = random.Random(7)
    choices = (
        [f"POST {path} HTTP/1.1" for path in (CHAT, CHAT + "?x=1", "/v1/completions", "/v1/responses", "/v1/messages")],
        [chat_request(text) | more for text in "abc" for more in ({}, {"stream": True}, {"temperature": 0.5})],
        [
            (),
            (b"X-Cache-Namespace: n",),
            (b"x-cache-sample: 3",),
            (b"Connection: keep-alive",),
            (b"X-Cache-Bypass: 1",),
        ],
        [FAKE_KEY, FAKE_KEY, FAKE_KEY, "none"],
    )
    for _ in range(300):
        drawn = [[choose.choice(options) for options in choices] for _ in range(choose.randint(1, 5))]
        sent = b"".join(request(body, *headers, line=line, token=token) for line, body, headers, token in drawn) + LAST
        cuts = sorted(choose.choices(range(len(sent)), k=choose.randint(0, 5)))
        pieces = [sent[a:b] for a, b in itertools.pairwise([0, *cuts, len(sent)])]
        assert_all_say_the_same(ways, pieces, drawn)
    assert_all_counted_the_same(ways)


def test_all_ways_answer_recorded_traffic_the_same(ways: dict[str, Proxy], upstream: Upstream) -> None:
    rows = [row for name in ("chat", "completions", "responses", "messages") for row in corpus.exchanges(name)]
    answers = {}

    async def answer(asked: support.Asked, send: support.Send) -> None:
        await send(answers[asked.body])

    upstream.handler = answer
    lines = {"completions": "/v1/completions", "responses": "/v1/responses", "messages": "/v1/messages", "chat": CHAT}
    hits = 0
    rows = [row for row in rows if row["api"] in lines][::8]  # the three ways answer 9 requests for each
    for row in rows:
        body = json.dumps(row["req_body"], ensure_ascii=False).encode()
        kind = "text/event-stream" if row["stream"] else "application/json"
        said = row["resp_body"] if isinstance(row["resp_body"], str) else json.dumps(row["resp_body"])
        answers[body] = response(said.encode(), content_type=kind)
        sent = request(body, line=f"POST {lines[row['api']]} HTTP/1.1")
        told = assert_all_say_the_same(ways, [sent * 3 + LAST], row["id"])
        hits += [answer[1].get("x-computer-use-cache") for answer in told].count("HIT")
    assert hits > 2 * len(rows) * 0.9
    assert_all_counted_the_same(ways)


def test_all_ways_count_rebound_hits_the_same(tmp_path: Path, upstream: Upstream) -> None:
    first, *others = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "123")
    upstream.handler = always(response(json.dumps(completion(f"read {first}")).encode()))
    with running_ways(tmp_path, upstream, CACHE_NORMALIZE="uuids") as ways:
        for uuid in (first, *others):
            for turn in range(4):  # as above
                assert_all_say_the_same(ways, [request(chat_request(f"read {uuid}")) + LAST], (uuid, turn))
        assert_all_counted_the_same(ways)
        assert counts(ways["normal"])["rebound"] == {"normalized": 8}


@pytest.mark.parametrize("way", ["in a layer", "before the layers"])
def test_a_request_may_come_in_any_two_pieces(ways: dict[str, Proxy], way: str) -> None:
    proxy, sent = ways[way], request()
    assert [answer[0] for answer in talk(proxy, [*(sent[at : at + 1] for at in range(len(sent))), LAST])] == [200, 200]
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as other,
        connection.makefile("rb") as reader,
        other.makefile("rb") as other_reader,
    ):
        for at in range(1, len(sent)):
            connection.sendall(sent[:at])
            other.sendall(LAST.replace(b"Connection: close\r\n", b""))
            assert read_message(other_reader)  # by now the first piece was read
            connection.sendall(sent[at:])
            answer = read_message(reader)
            assert answer, at
            assert (answer[0], answer[1]["x-computer-use-cache"]) == (200, "HIT"), at


def test_a_hit_on_a_new_connection_never_reaches_mitmproxy(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, "-v", program=lean_mitmdump, CACHE_FAST_LANE="on") as proxy:
        for text, outcome in (("one", "MISS"), ("one", "HIT"), ("one", "HIT"), ("another", "MISS")):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)) as connection:
                connection.request("POST", CHAT, json.dumps(chat_request(text)))
                answer = connection.getresponse()
                assert (answer.status, answer.headers["x-computer-use-cache"]) == (200, outcome)
                answer.read()
        assert proxy.stop() == 0
        proxy.reader.join(30)
        assert sum("client connect" in line for line in proxy.log) == 2, "one for each miss"


@pytest.mark.parametrize("program", [mitmdump, lean_mitmdump], ids=["in a layer", "before the layers"])
def test_what_is_remembered_is_never_stale(tmp_path: Path, upstream: Upstream, program: tuple[str, ...]) -> None:
    def answer_with(text: str) -> None:
        upstream.handler = always(response(json.dumps(completion(text)).encode()))

    def said(proxy: Proxy, *headers: bytes) -> tuple[str, str]:
        ((_, told, body), _) = talk(proxy, [request(None, *headers), LAST])
        return told["x-computer-use-cache"], json.loads(body)["choices"][0]["message"]["content"]

    shared = {"CACHE_FAST_LANE": "on", "CACHE_DIR": str(tmp_path / "shared")}
    with (
        running_proxy(tmp_path / "a", upstream.url, program=program, **shared) as proxy,
        running_proxy(tmp_path / "b", upstream.url, program=program, **shared) as second,
    ):
        for number, remover in enumerate((proxy, second)):
            answer_with(f"first {number}")
            assert said(proxy) == ("MISS", f"first {number}")
            assert [said(proxy) for _ in range(4)] == [("HIT", f"first {number}")] * 4
            answer_with(f"replaced {number}")
            assert said(remover, b"Cache-Control: no-cache") == ("MISS", f"replaced {number}")
            assert [said(proxy) for _ in range(4)] == [("HIT", f"replaced {number}")] * 4
            assert remover.ask("POST", "/cache/clear").status == 200
        answer_with("short")
        assert said(proxy, b"X-Cache-TTL: 1") == ("MISS", "short")
        answer_with("long")
        outcomes = list(itertools.takewhile(lambda found: found[0] == "HIT", iter(lambda: said(proxy), None)))
        assert set(outcomes) <= {("HIT", "short")}
        assert said(proxy) == ("HIT", "long")


@pytest.mark.parametrize("program", [mitmdump, lean_mitmdump], ids=["in a layer", "before the layers"])
def test_the_age_and_the_ttl_of_what_is_remembered_go_on(
    tmp_path: Path, upstream: Upstream, program: tuple[str, ...]
) -> None:
    environment = {"CACHE_FAST_LANE": "on", "CACHE_TTL_SECONDS": "100"}
    with running_proxy(tmp_path, upstream.url, program=program, **environment) as proxy:
        proxy.chat()
        told = iter(lambda: proxy.chat().headers, None)
        seen = dict.fromkeys((int(each["age"]), each["cache-status"].split("; ")[2]) for each in until_aged(told, 2))
    assert list(seen) == [(age, f"ttl={99 - age}") for age in range(3)]


def until_aged(told: Iterator[Any], seconds: int) -> Iterator[Any]:
    """The headers up to the first one that names seconds."""
    for headers in told:
        yield headers
        if int(headers["age"]) >= seconds:
            return


def test_a_client_that_is_gone_before_it_is_accepted_leaves_nothing_behind(ways: dict[str, Proxy]) -> None:
    for name, proxy in ways.items():
        os.kill(proxy.process.pid, signal.SIGSTOP)
        try:
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset it
        finally:
            os.kill(proxy.process.pid, signal.SIGCONT)
        assert proxy.chat(headers={"authorization": f"Bearer {FAKE_KEY}"}).status == 200
        assert not [line for line in proxy.log if "Traceback" in line or "rror" in line], name
