"""Identical requests at the same time make one upstream call, and no client suffers from what happens to another."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from support import (
    FAKE_KEY,
    STREAM_HEAD,
    Answer,
    Asked,
    Gate,
    Proxy,
    Send,
    Upstream,
    chat_events,
    chat_request,
    chunk,
    completion,
    response,
    running_proxy,
)

EVENTS = chat_events(*"pong")
BODY = b"".join(EVENTS)


def held_stream(gate: Gate, frames: list[bytes] = EVENTS) -> object:
    async def handler(asked: Asked, send: Send) -> None:
        await send(STREAM_HEAD + chunk(frames[0]))
        await gate.wait()
        await send(b"".join(map(chunk, [*frames[1:], b""])))

    return handler


def held_answer(gate: Gate, answer: bytes) -> object:
    async def handler(asked: Asked, send: Send) -> None:
        await gate.wait()
        await send(answer)

    return handler


def test_a_hundred_identical_streams_make_one_call_and_each_gets_it_live(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = held_stream(gate)
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: proxy.stream(), range(100)))
        firsts = list(pool.map(lambda answer: answer.read(len(EVENTS[0])), answers))
        assert firsts == [EVENTS[0]] * 100, "every client has the first event while the upstream still waits"
        gate.open()
        rests = list(pool.map(lambda answer: answer.read(), answers))
    assert {first + rest for first, rest in zip(firsts, rests, strict=True)} == {BODY}
    assert len(upstream.asked) == 1
    statuses = [answer.headers["cache-status"] for answer in answers]
    assert sum("; collapsed" in status for status in statuses) == 99
    assert proxy.stats()["coalesced"] == 99


def concurrently(proxy: Proxy, pool: ThreadPoolExecutor, number: int, **fields: object) -> list[Future[Answer]]:
    return [pool.submit(proxy.chat, **fields) for _ in range(number)]


def test_identical_json_requests_share_one_answer_in_the_shape_each_wants(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = held_answer(gate, response(json.dumps(completion("pong")).encode()))
    with ThreadPoolExecutor(8) as pool:
        leader = pool.submit(proxy.chat)
        upstream.wait_for(1)
        same, other = concurrently(proxy, pool, 3), concurrently(proxy, pool, 3, stream=True)
        proxy.log.wait_for("client connect", 7)
        gate.open()
        assert {answer.result().body for answer in same} == {leader.result().body}
        assert all(answer.result().body.endswith(b"[DONE]\n\n") for answer in other)
    assert len(upstream.asked) == 1


def test_an_error_of_the_upstream_is_shared_with_the_followers_of_that_moment(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = held_answer(gate, response(b'{"error": {"message": "slow down"}}', 429, retry_after="7"))
    with ThreadPoolExecutor(4) as pool:
        answers = concurrently(proxy, pool, 4)
        upstream.wait_for(1)
        proxy.log.wait_for("client connect", 4)
        gate.open()
        results = [answer.result() for answer in answers]
    assert {(answer.status, answer.headers["retry-after"]) for answer in results} == {(429, "7")}
    assert len(upstream.asked) < 4
    before = len(upstream.asked)
    assert proxy.chat().status == 429
    assert len(upstream.asked) == before + 1, "a later request asks again"


def test_followers_of_an_answer_that_cannot_be_stored_ask_on_their_own(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = held_answer(gate, response(json.dumps(completion("x", choices=[])).encode()))
    with ThreadPoolExecutor(4) as pool:
        answers = concurrently(proxy, pool, 4)
        upstream.wait_for(1)
        proxy.log.wait_for("client connect", 4)
        gate.open()
        assert {answer.result().status for answer in answers} == {200}
    assert len(upstream.asked) == 4


def test_followers_of_a_connection_that_fails_ask_on_their_own(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()

    async def fail_first(asked: Asked, send: Send) -> None:
        first = len(upstream.asked) == 1
        await gate.wait()
        if first:
            raise ConnectionResetError
        await send(response(json.dumps(completion("pong")).encode()))

    upstream.handler = fail_first
    with ThreadPoolExecutor(3) as pool:
        answers = concurrently(proxy, pool, 3)
        upstream.wait_for(1)
        proxy.log.wait_for("client connect", 3)
        gate.open()
        assert sorted(answer.result().status for answer in answers) == [200, 200, 502]


@pytest.mark.parametrize("abrupt", [True, False])
def test_a_leader_that_leaves_does_not_take_its_followers_down(proxy: Proxy, upstream: Upstream, abrupt: bool) -> None:
    gate = upstream.new_event()
    upstream.handler = held_stream(gate)
    leader = proxy.stream()
    if not abrupt:
        leader.read(len(EVENTS[0]))  # with bytes unread the kernel resets the connection
    follower = proxy.stream()
    first = follower.read(len(EVENTS[0]))
    leader.leave()
    proxy.log.wait_for("client disconnect")
    gate.open()
    assert first + follower.read() == BODY
    assert len(upstream.asked) == 1
    assert proxy.chat(stream=True).cache == "HIT", "what the followers had is an entry"


def test_a_stream_that_breaks_is_broken_for_its_followers_too(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()

    async def cut(asked: Asked, send: Send) -> None:
        await send(STREAM_HEAD + chunk(EVENTS[0]))
        await gate.wait()
        raise ConnectionResetError

    upstream.handler = cut
    leader, follower = proxy.stream(), proxy.stream()
    gate.open()
    for answer in (leader, follower):
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert proxy.stats()["entries"] == 0


PIECE, PIECES = b"x" * 2**20, 32
LONG_BODY = len(PIECE) * PIECES


async def send_long_stream(asked: Asked, send: Send, gate: Gate) -> None:
    """More than a connection can hold that is not read, once the gate is open."""
    await send(STREAM_HEAD)
    await gate.wait()
    for _ in range(PIECES):
        await send(chunk(PIECE))
    await send(chunk(b""))


def resident(proxy: Proxy) -> int:
    """The bytes of memory that a proxy uses."""
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's memory")
def test_followers_that_read_nothing_share_one_copy_of_a_stream_and_get_all_of_it(
    proxy: Proxy, upstream: Upstream
) -> None:
    gate = upstream.new_event()
    upstream.handler = lambda asked, send: send_long_stream(asked, send, gate)
    leader, *followers = (proxy.stream() for _ in range(7))
    before = resident(proxy)
    gate.open()
    assert len(leader.read()) == LONG_BODY
    assert proxy.stats()["coalesced"] == len(followers)
    assert resident(proxy) - before < 2.5 * LONG_BODY
    for follower in followers:
        assert len(follower.read()) == LONG_BODY
    assert len(upstream.asked) == 1


COUNT = """
import gc
import weakref

from mitmproxy import http

from computer_use_cache.flights.flight import Flight

alive = weakref.WeakSet()
begin, follow = Flight.__init__, Flight.follow


def begin_and_count(flight, key):
    begin(flight, key)
    alive.add(flight)


def follow_and_tell(flight, is_alive):
    follow(flight, is_alive)
    print("a request follows", flush=True)


Flight.__init__, Flight.follow = begin_and_count, follow_and_tell


def request(flow):
    if flow.request.path == "/flights":
        gc.collect()
        flow.response = http.Response.make(200, str(len(alive)))
"""
"""Answers with the number of flights in memory."""


def test_a_follower_that_leaves_before_the_stream_begins_leaves_nothing(tmp_path: Path, upstream: Upstream) -> None:
    script = tmp_path / "count.py"
    script.write_text(COUNT)
    gate = upstream.new_event()

    async def held(asked: Asked, send: Send) -> None:
        await gate.wait()
        await send(STREAM_HEAD + b"".join(map(chunk, [*EVENTS, b""])))

    upstream.handler = held
    with running_proxy(tmp_path, upstream.url, "-s", str(script)) as proxy, ThreadPoolExecutor(1) as pool:
        leader = pool.submit(proxy.chat, stream=True)
        upstream.wait_for(1)
        follower = http.client.HTTPConnection("127.0.0.1", proxy.port)
        body, headers = json.dumps(chat_request(stream=True)), {"authorization": f"Bearer {FAKE_KEY}"}
        follower.request("POST", "/v1/chat/completions", body, headers)
        proxy.log.wait_for("a request follows")
        follower.close()
        proxy.log.wait_for("client disconnect")
        gate.open()
        assert leader.result().body == BODY
        assert any(proxy.ask("GET", "/flights").body == b"0" for _ in range(100))
