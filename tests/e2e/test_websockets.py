"""Responses over a websocket: recorded and replayed as the same requests over HTTP, from the same entries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from computer_use_cache.formats import sse
from computer_use_cache.formats.responses import Responses
from support import FAKE_KEY, STREAM_HEAD, Asked, Proxy, Send, Upstream, always, chunk, response, running_proxy

MOST_CHARS = 20_000
SITE = tuple[Proxy, Upstream]


def answer(number: int, **fields: Any) -> dict[str, Any]:
    """The provider's answer to its request of this number."""
    text = {"type": "output_text", "text": f"pong {number}", "annotations": []}
    message = {
        "type": "message",
        "id": f"msg_{number}",
        "status": "completed",
        "role": "assistant",
        "content": [text],
    }
    return {
        "id": f"resp_{number}",
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": [message],
    } | fields


def frames(number: int) -> list[bytes]:
    return list(sse.encode(Responses().explode(answer(number), with_usage=True)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SITE]:
    """One proxy for all tests here: each asks about something of its own."""
    upstream = Upstream()
    with running_proxy(
        tmp_path_factory.mktemp("websockets"), upstream.url, CACHE_MAX_INPUT_CHARS=str(MOST_CHARS)
    ) as proxy:
        yield proxy, upstream
    upstream.close()


@pytest.fixture
def proxy(site: SITE) -> Proxy:
    return site[0]


@pytest.fixture
def upstream(site: SITE) -> Upstream:
    """A provider that numbers its answers."""
    provider = site[1]
    provider.asked.clear()

    async def handler(asked: Asked, send: Send) -> None:
        number = len(provider.asked)
        if asked.json().get("stream"):
            await send(STREAM_HEAD + b"".join(map(chunk, [*frames(number), b""])))
        else:
            await send(response(json.dumps(answer(number)).encode()))

    provider.handler = handler
    return provider


def websocket(proxy: Proxy, path: str = "/v1/responses", **headers: str) -> ClientConnection:
    sent = {"Authorization": f"Bearer {FAKE_KEY}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return connect(f"ws://127.0.0.1:{proxy.port}{path}", additional_headers=sent, proxy=None)


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "store": False, "input": [{"role": "user", "content": text}]} | fields


def create(text: str, **fields: Any) -> str:
    return json.dumps({"type": "response.create"} | body(text, **fields))


def read(client: ClientConnection) -> list[Any]:
    """The events up to the last one of an answer."""
    events = []
    while not events or events[-1]["type"] not in ("response.completed", "error"):
        events.append(json.loads(client.recv(timeout=30)))
    return events


def ask(client: ClientConnection, text: str, **fields: Any) -> Any:
    """Ask, and return the last event."""
    client.send(create(text, **fields))
    return read(client)[-1]


def outcomes(proxy: Proxy) -> tuple[int, int]:
    stats = proxy.stats()
    return stats["hits"], stats["misses"]


def test_a_websocket_and_http_share_their_entries(proxy: Proxy, upstream: Upstream) -> None:
    with websocket(proxy, OpenAI_Beta="responses_websockets=2026-02-06, other=1") as client:
        client.send(create("shared", stream_id="lane"))
        miss = read(client)
    with websocket(proxy, OpenAI_Beta="other=1") as client:
        client.send(create("shared", stream_id="lane"))
        assert read(client) == miss
    assert [event["type"] for event in miss][:2] == ["response.created", "response.in_progress"]
    assert {event["stream_id"] for event in miss} == {"lane"}
    [asked] = upstream.asked
    assert (asked.method, asked.path, asked.json()) == ("POST", "/v1/responses", body("shared", stream=True))
    assert asked.headers["openai-beta"] == "other=1"
    assert not {"upgrade", "sec-websocket-key", "sec-websocket-extensions"} & asked.headers.keys()
    whole, streamed = (
        proxy.post("/v1/responses", body("shared", stream=stream), {"openai-beta": "other=1"})
        for stream in (False, True)
    )
    assert (whole.cache, whole.json()) == ("HIT", answer(1))
    assert (streamed.cache, streamed.body) == ("HIT", b"".join(frames(1)))


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_recorded_over_http_is_a_hit(proxy: Proxy, upstream: Upstream, stream: bool) -> None:
    text = f"recorded over HTTP, {stream=}"
    assert proxy.post("/v1/responses", body(text, stream=stream)).cache == "MISS"
    with websocket(proxy) as client:
        assert ask(client, text)["response"] == answer(1)
    assert len(upstream.asked) == 1


def test_a_chain_of_answers_replays_on_another_connection(proxy: Proxy, upstream: Upstream) -> None:
    def run() -> list[Any]:
        with websocket(proxy) as client:
            warm = ask(client, "chain", generate=False)["response"]
            answers = [ask(client, "first", previous_response_id=warm["id"])]
            for text in ("second", "third"):
                answers.append(ask(client, text, previous_response_id=answers[-1]["response"]["id"]))
            return answers

    hits, misses = outcomes(proxy)
    assert run() == run()
    assert outcomes(proxy) == (hits + 3, misses + 3)
    sent = [asked.json() for asked in upstream.asked]
    assert [len(one["input"]) for one in sent] == [2, 4, 6]
    assert sent[1]["input"][:3] == [*sent[0]["input"], *answer(1)["output"]]
    assert not any("previous_response_id" in one or "generate" in one for one in sent)


def test_offline_hits_are_served_and_misses_are_errors_that_nobody_retries(proxy: Proxy, upstream: Upstream) -> None:
    with websocket(proxy) as client:
        recorded = ask(client, "offline")
    with websocket(proxy, X_Cache_Mode="offline") as client:
        assert ask(client, "offline") == recorded
        refused = ask(client, "never asked")
        assert (refused["type"], refused["status"], refused["error"]["code"]) == ("error", 400, "cache_offline_miss")
        assert refused["headers"]["x-should-retry"] == "false"
        assert ask(client, "offline") == recorded
    assert len(upstream.asked) == 1


HALF = STREAM_HEAD + chunk(frames(1)[0])
FAILED = b'data: {"type":"response.failed","response":{"id":"r","status":"failed","output":[]}}\n\n'
FAILURES = {
    "429": (response(b'{"error": {"code": "slow_down"}}', 429, retry_after="1"), 429, "slow_down"),
    "not JSON": (response(b"busy", 503, "text/plain"), 503, None),
    "cut": (HALF, 502, "upstream_request_failed"),
    "no end": (HALF + chunk(b""), 502, "upstream_request_failed"),
    "no answer": (b"", 502, "upstream_request_failed"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_an_error_event_and_is_not_stored(proxy: Proxy, upstream: Upstream, name: str) -> None:
    sent, status, code = FAILURES[name]
    good = upstream.handler
    upstream.handler, upstream.keep_alive = always(sent), False
    with websocket(proxy) as client:
        failed = ask(client, name)
        assert (failed["type"], failed["status"], failed["error"]["code"]) == ("error", status, code)
        upstream.handler, upstream.keep_alive = good, True
        assert ask(client, name)["response"] == answer(2)


def test_an_error_inside_a_stream_passes_and_is_not_stored(proxy: Proxy, upstream: Upstream) -> None:
    good = upstream.handler
    upstream.handler = always(STREAM_HEAD + chunk(FAILED) + chunk(b""))
    with websocket(proxy) as client:
        client.send(create("fails inside"))
        assert json.loads(client.recv(timeout=30))["type"] == "response.failed"
        upstream.handler = good
        assert ask(client, "fails inside")["response"] == answer(2)


def test_messages_of_a_lane_wait_for_each_other_and_lanes_do_not(proxy: Proxy, upstream: Upstream) -> None:
    gate, good = upstream.new_event(), upstream.handler

    async def hold_one(asked: Asked, send: Send) -> None:
        if asked.json()["input"][0]["content"] == "slow":
            await gate.wait()
        await good(asked, send)

    upstream.handler = hold_one
    with websocket(proxy) as client:
        for text, lane in (("slow", "a"), ("behind slow", "a"), ("one", "b"), ("two", "b")):
            client.send(create(text, stream_id=lane))
        assert [read(client)[-1]["stream_id"] for _ in range(2)] == ["b", "b"]
        assert len(upstream.asked) == 3
        gate.open()
        assert [read(client)[-1]["stream_id"] for _ in range(2)] == ["a", "a"]
    assert [asked.json()["input"][0]["content"] for asked in upstream.asked][-1] == "behind slow"


def test_many_lanes_are_asked_at_the_same_time(proxy: Proxy, upstream: Upstream) -> None:
    gate, good = upstream.new_event(), upstream.handler

    async def hold(asked: Asked, send: Send) -> None:
        await gate.wait()
        await good(asked, send)

    upstream.handler = hold
    lanes = {f"lane {number}" for number in range(20)}
    with websocket(proxy) as client:
        for lane in lanes:
            client.send(create(f"in {lane}", stream_id=lane))
        upstream.wait_for(len(lanes))
        gate.open()
        assert {read(client)[-1]["stream_id"] for _ in lanes} == lanes


def test_connections_to_the_upstream_are_used_again(proxy: Proxy, upstream: Upstream) -> None:
    before = sum("server connect" in line for line in list(proxy.log))
    with websocket(proxy) as client:
        for number in range(5):
            for lane in ("a", "b"):
                client.send(create(f"round {number} in {lane}", stream_id=lane))
            assert {read(client)[-1]["type"] for _ in range(2)} == {"response.completed"}
        assert ask(client, "the last one")["response"] == answer(11)
    assert sum("server connect" in line for line in list(proxy.log)) <= before + 2


def test_pings_fragments_and_binary_messages_are_understood(proxy: Proxy, upstream: Upstream) -> None:
    with websocket(proxy) as client:
        assert client.ping().wait(30)
        whole = create("in \N{GREEK SMALL LETTER ALPHA} pieces")
        client.send(iter((whole[:10], whole[10:50], whole[50:])))
        first = read(client)
        client.send(json.dumps(json.loads(whole), ensure_ascii=False).encode())
        assert read(client) == first
    assert (client.close_code, len(upstream.asked)) == (1000, 1)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x02hi", 1002, id="not masked"),
        pytest.param(b"\xff\x80\0\0\0\0", 1002, id="an unknown kind of frame"),
        pytest.param(b"\x81\x81\0\0\0\0\xff", 1007, id="not UTF-8"),
    ],
)
def test_a_broken_frame_ends_the_connection(proxy: Proxy, upstream: Upstream, data: bytes, code: int) -> None:
    with websocket(proxy) as client:
        client.socket.sendall(data)
        with pytest.raises(ConnectionClosedError):
            client.recv(timeout=30)
    assert client.close_code == code


def test_a_client_that_sends_more_than_can_wait_is_sent_away(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()

    async def hold(asked: Asked, send: Send) -> None:
        await gate.wait()

    upstream.handler = hold
    with websocket(proxy) as client:
        for number in range(110):
            client.send(create("one of too many", stream_id=f"{number // 2}"))
        with pytest.raises(ConnectionClosedError):
            client.recv(timeout=30)
    gate.open()
    assert client.close_code == 1008


def test_a_message_that_is_too_large_for_the_cache_is_not_recorded(proxy: Proxy, upstream: Upstream) -> None:
    with websocket(proxy) as client:
        answers = [ask(client, "x" * MOST_CHARS)["response"]["id"] for _ in range(2)]
    assert answers == ["resp_1", "resp_2"]


def test_a_client_that_leaves_ends_its_calls(proxy: Proxy, upstream: Upstream) -> None:
    gate = upstream.new_event()

    async def hold(asked: Asked, send: Send) -> None:
        await send(HALF)
        await gate.wait()

    upstream.handler = hold
    before = sum("server disconnect" in line for line in list(proxy.log))
    with websocket(proxy) as client:
        client.send(create("left"))
        client.recv(timeout=30)
    proxy.log.wait_for("server disconnect", before + 1)
    gate.open()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Origin": "https://page.example"}, 403),
        ({}, 101),
    ],
)
def test_a_handshake_is_checked(proxy: Proxy, upstream: Upstream, headers: dict[str, str], status: int) -> None:
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    handshake |= {"Sec-WebSocket-Key": "eA=="}
    assert proxy.ask("GET", "/v1/responses", headers=handshake | headers).status == status
    assert upstream.asked == []


def test_a_client_that_names_the_proxy_as_its_origin_is_served(proxy: Proxy, upstream: Upstream) -> None:
    with websocket(proxy, Origin=f"http://127.0.0.1:{proxy.port}") as client:
        assert ask(client, "from its own origin")["response"] == answer(1)
    with pytest.raises(InvalidStatus, match="403"), websocket(proxy, Origin=f"http://127.0.0.1:{proxy.port + 1}"):
        pass
    assert "origin" not in upstream.asked[0].headers


def test_another_apis_websocket_passes(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = always(response(b"{}"))
    with pytest.raises(InvalidStatus, match="200"), websocket(proxy, "/v1/realtime"):
        pass
    assert [asked.headers["upgrade"] for asked in upstream.asked] == ["websocket"]


def test_a_client_without_its_token_is_refused_at_the_handshake(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, CACHE_CLIENT_TOKEN="tok" * 6) as proxy:
        with pytest.raises(InvalidStatus, match="401"), websocket(proxy):
            pass
        with websocket(proxy, Authorization="Bearer " + "tok" * 6) as client:
            assert ask(client, "with a token")["response"] == answer(1)
    assert "authorization" not in upstream.asked[0].headers


def test_the_openai_package_is_served(proxy: Proxy, upstream: Upstream) -> None:
    async def run() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=proxy.url, api_key=FAKE_KEY)
        events = []
        async with client, client.responses.connect() as connection:
            await connection.response.create(model="m", input="the openai package", store=False)
            async for event in connection:
                events.append(event)
                if event.type == "response.completed":
                    return events
        raise AssertionError(events)

    first, again = asyncio.run(run()), asyncio.run(run())
    assert first == again
    assert first[-1].response.output_text == "pong 1"
    assert len(upstream.asked) == 1
