"""Streams: passed on as they come, stored only when whole, replayed in either shape."""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard

from forked import lean_mitmdump
from support import (
    STREAM_HEAD,
    Asked,
    Gate,
    Proxy,
    Send,
    Upstream,
    always,
    answer_chat,
    chat_events,
    chat_request,
    chunk,
    completion,
    response,
    running_proxy,
)

EVENTS = chat_events("po", "ng")
BODY = b"".join(EVENTS)


def streaming(frames: list[bytes], gate: Gate | None = None) -> Callable[[Asked, Send], object]:
    """A handler that sends the first frame, waits for the gate, and sends the others."""

    async def handler(asked: Asked, send: Send) -> None:
        await send(STREAM_HEAD + chunk(frames[0]))
        if gate:
            await gate.wait()
        for frame in frames[1:]:
            await send(chunk(frame))
        await send(chunk(b""))

    return handler


def test_a_streamed_miss_arrives_while_the_upstream_is_still_sending(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = streaming(EVENTS, gate)
    answer = proxy.stream()
    assert answer.headers["x-computer-use-cache-store"] == "pending"
    assert answer.read(len(EVENTS[0])) == EVENTS[0]
    gate.open()
    assert answer.read() == b"".join(EVENTS[1:])


def test_start_passes_on_each_piece_when_it_arrives_and_no_more_than_the_client_reads(
    tmp_path: Path, upstream: Upstream
) -> None:
    piece, pieces, sent = b"x" * 131_072, 256, itertools.count()
    gates = [upstream.new_event() for _ in EVENTS]

    async def handler(asked: Asked, send: Send) -> None:
        if asked.json()["messages"][0]["content"] != "ping":
            await answer_chat(asked, send)
            return
        await send(STREAM_HEAD)
        for event, gate in zip(EVENTS, gates, strict=True):
            await send(chunk(event))
            await gate.wait()
        for _ in range(pieces):
            await send(chunk(piece))
            next(sent)
        await send(chunk(b""))

    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url, program=lean_mitmdump) as proxy:
        answer = proxy.stream()
        for event, gate in zip(EVENTS, gates, strict=True):
            assert answer.read(len(event)) == event
            gate.open()
        for number in range(3):  # meanwhile, all pieces would have arrived
            assert proxy.chat(f"pong {number}").cache == "MISS"
        assert next(sent) < pieces
        assert answer.read() == piece * pieces


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_stream_is_replayed_byte_for_byte_however_it_was_cut(proxy: Proxy, upstream: Upstream, size: int) -> None:
    upstream.handler = streaming([BODY[start : start + size] for start in range(0, len(BODY), size)])
    answers = [proxy.chat(stream=True) for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert answers[0].body == answers[1].body == BODY
    assert answers[1].headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n"], ids=["plain", "with trailers"])
def test_a_stream_that_comes_in_one_write_is_passed_on_whole(proxy: Proxy, upstream: Upstream, end: bytes) -> None:
    events = chat_events(*["word "] * 2000)
    upstream.handler = always(STREAM_HEAD + b"".join(map(chunk, events)) + end)
    answers = [proxy.chat(stream=True) for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert answers[0].body == answers[1].body == b"".join(events)


def test_a_recorded_stream_answers_a_json_request(proxy: Proxy, upstream: Upstream) -> None:
    proxy.chat(stream=True)
    answer = proxy.chat()
    assert answer.cache == "HIT"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json()["choices"][0]["message"] == {"role": "assistant", "content": "pong"}


def test_a_recorded_json_answer_answers_a_stream_request(proxy: Proxy, upstream: Upstream) -> None:
    proxy.chat()
    answer = proxy.chat(stream=True)
    assert (answer.cache, answer.headers["content-type"]) == ("HIT", "text/event-stream; charset=utf-8")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b'"usage"' not in answer.body
    with_usage = proxy.chat(stream=True, stream_options={"include_usage": True})
    assert with_usage.cache == "HIT"
    assert b'"total_tokens":7' in with_usage.body


def test_usage_that_was_not_recorded_is_asked_for_once(proxy: Proxy, upstream: Upstream) -> None:
    proxy.chat(stream=True)
    wanted = [proxy.chat(stream=True, stream_options={"include_usage": True}) for _ in range(2)]
    assert [answer.cache for answer in wanted] == ["MISS", "HIT"]
    assert proxy.chat(stream=True).cache == "HIT"


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (EVENTS[:1], "no finish reason"),
        ([*EVENTS[:2], b'data: {"error": {"message": "overloaded"}}\n\n', b"data: [DONE]\n\n"], "error event"),
        ([EVENTS[0], b'data: {"choices": [\n\n', b"data: [DONE]\n\n"], "an event that does not parse"),
    ],
)
def test_a_stream_that_is_not_whole_is_passed_on_but_not_stored(
    proxy: Proxy, upstream: Upstream, frames: list[bytes], why: str
) -> None:
    upstream.handler = streaming(frames)
    assert [proxy.chat(stream=True).body for _ in range(2)] == [b"".join(frames)] * 2
    assert len(upstream.asked) == 2, why


def test_a_chunked_stream_cut_by_the_upstream_is_cut_for_the_client_and_not_stored(
    proxy: Proxy, upstream: Upstream
) -> None:
    async def cut(asked: Asked, send: Send) -> None:
        await send(STREAM_HEAD + b"".join(map(chunk, EVENTS[:-1])))

    upstream.handler, upstream.keep_alive = cut, False
    for _ in range(2):
        with pytest.raises(http.client.IncompleteRead):
            proxy.stream().read()
    assert proxy.stats()["stored"] == 0


def test_a_request_that_comes_after_a_stream_of_known_length_does_not_join_it(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = always(response(BODY, 200, "text/event-stream"))
    for number in range(10):
        # The client has all of the first answer before the proxy has stored it.
        answers = [proxy.chat(str(number), stream=True) for _ in range(2)]
        assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert len(upstream.asked) == 10


def test_a_stream_that_ends_with_the_connection_needs_its_terminal_event(proxy: Proxy, upstream: Upstream) -> None:
    frames = EVENTS[:-1]

    async def close_delimited(asked: Asked, send: Send) -> None:
        await send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + b"".join(frames))

    upstream.handler, upstream.keep_alive = close_delimited, False
    assert [proxy.chat(stream=True).cache for _ in range(2)] == ["MISS", "MISS"]
    frames.append(EVENTS[-1])
    assert [proxy.chat(stream=True).cache for _ in range(2)] == ["MISS", "HIT"]


def test_a_client_that_leaves_halfway_leaves_nothing_behind(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = streaming(EVENTS, gate)
    answer = proxy.stream()
    answer.read(1)
    answer.leave()
    upstream.handler = streaming(EVENTS)
    gate.open()
    assert proxy.chat(stream=True).cache == "MISS"


def test_a_client_that_leaves_after_the_terminal_event_has_paid_for_an_entry(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = streaming([BODY, b": waiting\n\n"], gate)
    connection = socket.create_connection(("127.0.0.1", proxy.port))
    body = json.dumps(chat_request(stream=True)).encode()
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    connection.sendall(body)
    received = b""
    while b"[DONE]" not in received:
        received += connection.recv(65536)
    connection.close()
    while proxy.stats()["stored"] == 0:
        assert len(upstream.asked) == 1
    assert proxy.chat(stream=True).body == BODY
    assert len(upstream.asked) == 1


CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_an_upstream_that_compresses_although_asked_not_to(proxy: Proxy, upstream: Upstream, coding: str) -> None:
    async def handler(asked: Asked, send: Send) -> None:
        assert asked.headers["accept-encoding"] == "identity"
        if asked.json().get("stream"):
            coded = CODINGS[coding](BODY)
            head = STREAM_HEAD.replace(b"\r\n\r\n", f"\r\ncontent-encoding: {coding}\r\n\r\n".encode())
            await send(head + chunk(coded[:10]) + chunk(coded[10:]) + chunk(b""))
        else:
            coded = CODINGS[coding](json.dumps(completion("pong")).encode())
            await send(response(coded, content_encoding=coding))

    upstream.handler = handler
    assert [proxy.chat(stream=True).body for _ in range(2)] == [BODY, BODY]
    answers = [proxy.chat("json") for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert [answer.json() for answer in answers] == [completion("pong")] * 2
    assert len(upstream.asked) == 2


@pytest.mark.parametrize("speed", ["recorded", "2000", "100ms"])
def test_a_paced_replay_is_the_same_stream(tmp_path: Path, upstream: Upstream, speed: str) -> None:
    with running_proxy(tmp_path, upstream.url, CACHE_REPLAY_SPEED=speed) as proxy:
        answers = [proxy.chat(stream=True) for _ in range(2)]
        assert [answer.cache for answer in answers] == ["MISS", "HIT"]
        assert answers[0].body == answers[1].body == BODY
        assert answers[1].headers["transfer-encoding"] == "chunked"
        assert proxy.chat().json()["choices"][0]["message"]["content"] == "pong"


def test_a_json_answer_is_not_replayed_before_its_least_time(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, CACHE_REPLAY_SPEED="300ms", INCLUDE_CACHE_METADATA="1") as proxy:
        recorded = proxy.chat()
        began = time.monotonic()
        replayed = proxy.chat()
        assert time.monotonic() - began >= 0.3
    assert [answer.cache for answer in (recorded, replayed)] == ["MISS", "HIT"]
    assert replayed.json()["choices"] == recorded.json()["choices"]
    assert replayed.json()["computer_use_cache"]["cache_hit"] is True


WHERE = """
import logging
import threading

from computer_use_cache.cache import replay

replayed = replay._replayed


def told(plan, *arguments):
    is_loop = threading.current_thread() is threading.main_thread()
    logging.getLogger("test").warning("%s converted on the %s", plan.shape, "loop" if is_loop else "side")
    return replayed(plan, *arguments)


replay._replayed = told
"""


@pytest.mark.parametrize(("length", "converted"), [(1, "loop"), (100_000, "side")])
@pytest.mark.parametrize("lane", ["auto", "off"])
def test_only_a_large_recording_that_must_be_converted_is_replayed_off_the_event_loop(
    tmp_path: Path, upstream: Upstream, length: int, converted: str, lane: str
) -> None:
    script = tmp_path / "where.py"
    script.write_text(WHERE)
    upstream.handler = streaming(chat_events("x" * length))
    with running_proxy(tmp_path, upstream.url, "-s", str(script), CACHE_FAST_LANE=lane) as proxy:
        proxy.chat(stream=True)
        assert [proxy.chat(stream=stream).cache for stream in (True, False)] == ["HIT", "HIT"]
        proxy.log.wait_for("json converted")
        told = [line.split("] ")[1].strip() for line in proxy.log if "converted" in line]
    assert told == [f"json converted on the {converted}"], "the recorded stream itself is not even looked at"
