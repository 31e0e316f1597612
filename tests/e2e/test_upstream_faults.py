"""Whatever the upstream does, the client gets what it sent or an error in the API's own form, and none is stored."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import free_port
from support import (
    STREAM_HEAD,
    Answer,
    Asked,
    Handler,
    Proxy,
    Send,
    Upstream,
    always,
    answer_chat,
    chat_events,
    chunk,
    completion,
    response,
    running_proxy,
)

CHAT = ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
MESSAGES = ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]})
GEMINI = ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "x"}]}]})
FILES = "/v1/files"


def kind_of_error(answer: Answer) -> tuple[int, Any]:
    """The status and the word that each API's clients look at."""
    error = answer.json()["error"]
    return answer.status, error.get("status") or error["type"]


@pytest.mark.parametrize(
    ("call", "expected"), [(CHAT, "upstream_error"), (MESSAGES, "api_error"), (GEMINI, "UNAVAILABLE")]
)
def test_an_upstream_that_refuses_is_a_502_in_the_apis_form(
    proxy: Proxy, upstream: Upstream, call: tuple[str, Any], expected: str
) -> None:
    upstream.stop()
    answer = proxy.post(*call)
    assert kind_of_error(answer) == (502, expected)
    assert (answer.cache, answer.headers["x-computer-use-cache-store"]) == ("MISS", "skipped: the upstream failed")
    assert proxy.stats()["misses"] == 1, "what got no answer is a miss all the same"


async def hang(asked: Asked, send: Send) -> None:
    await asyncio.Event().wait()


async def hang_halfway(asked: Asked, send: Send) -> None:
    await send(response(json.dumps(completion("pong")).encode())[:-10])
    await asyncio.Event().wait()


@pytest.mark.parametrize("handler", [hang, hang_halfway])
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_is_silent_for_too_long_is_a_504(
    tmp_path: Path, upstream: Upstream, handler: Handler, stream: bool
) -> None:
    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url, UPSTREAM_TIMEOUT_SECONDS="0.3") as proxy:
        answer = proxy.chat(stream=stream)
        assert kind_of_error(answer) == (504, "upstream_error")
        assert answer.json()["error"]["code"] == "upstream_timeout"
        assert proxy.stats()["entries"] == 0
        upstream.handler = always(response(json.dumps(completion("pong")).encode()))
        assert proxy.chat(stream=stream).status == 200, "the proxy is none the worse for it"


def open_connection(proxy: Proxy) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20))


def ask_over(connection: http.client.HTTPConnection, path: str = CHAT[0]) -> int:
    """Ask over a connection that is to be kept; the answer's status."""
    connection.request("POST", path, json.dumps(CHAT[1]), {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.read()
    assert connection.sock, "the connection is kept"
    return answer.status


@pytest.mark.parametrize("handler", [hang, hang_halfway])
def test_after_a_504_the_connection_carries_the_answer_to_the_next_request(
    tmp_path: Path, upstream: Upstream, handler: Handler
) -> None:
    upstream.handler = handler
    with (
        running_proxy(tmp_path, upstream.url, UPSTREAM_TIMEOUT_SECONDS="0.3") as proxy,
        open_connection(proxy) as connection,
    ):
        assert ask_over(connection) == 504
        upstream.handler = answer_chat
        assert ask_over(connection) == 200


@pytest.mark.parametrize("path", [CHAT[0], FILES])
def test_after_a_refused_connect_the_connection_carries_further_requests(tmp_path: Path, path: str) -> None:
    port = free_port()
    with running_proxy(tmp_path, f"http://127.0.0.1:{port}/v1") as proxy, open_connection(proxy) as connection:
        assert [ask_over(connection, path) for _ in range(2)] == [502, 502]
        with contextlib.closing(Upstream(port=port)):
            assert ask_over(connection, path) == 200


@contextlib.contextmanager
def port_that_accepts_nothing() -> Iterator[int]:
    """A port that ignores further clients: as many as it has room for already wait to be accepted."""
    with contextlib.ExitStack() as sockets:
        address = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0)).getsockname()
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]


@pytest.mark.parametrize("path", [CHAT[0], FILES])
def test_after_a_connect_that_timed_out_the_connection_carries_further_requests(tmp_path: Path, path: str) -> None:
    with (
        port_that_accepts_nothing() as port,
        running_proxy(tmp_path, f"http://127.0.0.1:{port}/v1", UPSTREAM_TIMEOUT_SECONDS="0.3") as proxy,
        open_connection(proxy) as connection,
    ):
        assert [ask_over(connection, path) for _ in range(2)] == [504, 504]


WHOLE = response(json.dumps(completion("pong")).encode())


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([WHOLE[start : start + 100] for start in range(0, len(WHOLE), 100)], id="pieces"),
        pytest.param([*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 6, WHOLE], id="interim responses"),
    ],
)
@pytest.mark.parametrize("path", [CHAT[0], FILES])
def test_a_slow_upstream_that_keeps_sending_is_not_cut(
    tmp_path: Path, upstream: Upstream, path: str, pieces: list[bytes]
) -> None:
    async def slow(asked: Asked, send: Send) -> None:
        for piece in pieces:
            await send(piece)
            await asyncio.sleep(0.2)

    upstream.handler = slow
    with running_proxy(tmp_path, upstream.url, UPSTREAM_TIMEOUT_SECONDS="0.6") as proxy:
        assert proxy.post(path, CHAT[1]).json() == completion("pong")


def test_a_slow_upload_that_goes_on_is_not_cut(tmp_path: Path, upstream: Upstream) -> None:
    body = json.dumps(CHAT[1]).encode()

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(body), 10):
            yield body[start : start + 10]
            time.sleep(0.2)

    with (
        running_proxy(tmp_path, upstream.url, UPSTREAM_TIMEOUT_SECONDS="0.6") as proxy,
        open_connection(proxy) as connection,
    ):
        connection.request("POST", FILES, slowly(), {"content-length": str(len(body))})
        assert connection.getresponse().status == 200
    assert [asked.body for asked in upstream.asked] == [body]


BROKEN: dict[str, bytes] = {
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "closed before an answer": b"",
    "closed in the headers": b"HTTP/1.1 200 OK\r\ncontent-ty",
    "closed in the body": response(json.dumps(completion("pong")).encode())[:-5],
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 5\r\n\r\n{}",
    "a bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\nzz\r\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    "an interim answer only": b"HTTP/1.1 100 Continue\r\n\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 2**20,
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}",
    "an invalid header": b"HTTP/1.1 200 OK\r\nno header\r\ncontent-length: 2\r\n\r\n{}",
    "a truncated chunk": STREAM_HEAD.replace(b"text/event-stream", b"application/json") + b"ff\r\n{}\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_a_502(proxy: Proxy, upstream: Upstream, data: bytes) -> None:
    upstream.handler, upstream.keep_alive = always(data), False
    answer = proxy.chat()
    assert kind_of_error(answer) == (502, "upstream_error")
    assert proxy.stats()["entries"] == 0


def test_a_connection_that_is_reset_in_a_json_answer_is_a_502(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = always(response(json.dumps(completion("pong")).encode())[:-50])
    upstream.resets = True
    assert kind_of_error(proxy.chat()) == (502, "upstream_error")
    assert proxy.stats()["entries"] == 0


def test_a_connection_that_is_reset_in_a_stream_breaks_it_off_and_stores_nothing(
    proxy: Proxy, upstream: Upstream
) -> None:
    gate, events = upstream.new_event(), chat_events("po", "ng")

    async def half(asked: Asked, send: Send) -> None:
        await send(STREAM_HEAD + chunk(events[0]))
        await gate.wait()

    upstream.handler, upstream.resets = half, True
    answer = proxy.stream()
    assert answer.read(len(events[0])) == events[0]
    gate.open()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    assert proxy.stats()["entries"] == 0
    upstream.handler, upstream.resets = answer_chat, False
    assert proxy.chat(stream=True).cache == "MISS"


def test_headers_that_come_slowly_are_a_504(tmp_path: Path, upstream: Upstream) -> None:
    async def drip(asked: Asked, send: Send) -> None:
        await send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await send(b"x-a: b\r\n")
            await asyncio.sleep(0.1)

    upstream.handler = drip
    with running_proxy(tmp_path, upstream.url, UPSTREAM_TIMEOUT_SECONDS="0.5") as proxy:
        assert kind_of_error(proxy.chat()) == (504, "upstream_error")


LENGTHS = {
    "more than the length says": response(json.dumps(completion("pong")).encode()) + b"HTTP/1.1 200 OK\r\n\r\nmore",
    "garbage after the length": response(json.dumps(completion("pong")).encode()) + b"\x00garbage" * 100,
    "garbage after the chunks": STREAM_HEAD.replace(b"text/event-stream", b"application/json")
    + chunk(json.dumps(completion("pong")).encode())
    + chunk(b"")
    + b"\x00garbage" * 100,
}


@pytest.mark.parametrize("data", LENGTHS.values(), ids=LENGTHS)
def test_what_follows_an_answer_on_its_connection_is_nobodys(proxy: Proxy, upstream: Upstream, data: bytes) -> None:
    upstream.handler = always(data)
    for text in ("one", "two", "three"):
        answer = proxy.chat(text)
        assert (answer.status, answer.body) == (200, json.dumps(completion("pong")).encode())
    upstream.handler = answer_chat
    assert proxy.chat("four").body == json.dumps(completion("pong")).encode()


USELESS = {
    "an error inside a 200": ({"error": {"message": "no"}} | completion("x"), {}),
    "no choices": (completion("x", choices=[]), {}),
    "HTML": (b"<html>login</html>", {"content_type": "text/html"}),
    "not JSON": (b"{", {}),
    "not an object": (b"[]", {}),
    "a rate limit": ({"error": {"message": "slow"}}, {"status": 429}),
    "a 201": (completion("x"), {"status": 201}),
    "a server error": ({"error": {"message": "oops"}}, {"status": 500}),
}


@pytest.mark.parametrize(("body", "how"), USELESS.values(), ids=USELESS)
def test_an_answer_that_must_not_be_stored_is_passed_on_as_it_is(
    proxy: Proxy, upstream: Upstream, body: Any, how: dict[str, Any]
) -> None:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    upstream.handler = always(response(sent, **how))
    for number in (1, 2):
        answer = proxy.chat()
        assert (answer.status, answer.body) == (how.get("status", 200), sent)
        assert answer.headers["x-computer-use-cache-store"].startswith("skipped: ")
        assert len(upstream.asked) == number
    assert proxy.stats()["entries"] == 0
