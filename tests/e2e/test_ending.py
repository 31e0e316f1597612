"""SIGTERM: what is running may finish, nothing new begins, and a second signal ends at once."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path

import pytest

from forked import lean_mitmdump, mitmdump
from support import (
    FAKE_KEY,
    STREAM_HEAD,
    Asked,
    Gate,
    Handler,
    Proxy,
    Send,
    Upstream,
    always,
    chat_events,
    chat_request,
    chunk,
    completion,
    response,
    running_proxy,
)

EVENTS = chat_events("po", "ng")


def waiting(gate: Gate) -> Handler:
    """Half of a stream, or no answer at all, before the gate opens."""
    whole = response(json.dumps(completion("pong" * 1_000_000)).encode())

    async def handler(asked: Asked, send: Send) -> None:
        if not asked.json().get("stream"):
            await gate.wait()
            await send(whole)
            return
        await send(STREAM_HEAD + chunk(EVENTS[0]))
        await gate.wait()
        await send(b"".join(map(chunk, [*EVENTS[1:], b""])))

    return handler


def test_a_running_stream_arrives_whole_and_is_an_entry_after_the_restart(tmp_path: Path, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = waiting(gate)
    with running_proxy(tmp_path, upstream.url) as proxy:
        answer = proxy.stream()
        assert answer.read(len(EVENTS[0])) == EVENTS[0]
        proxy.process.send_signal(signal.SIGTERM)
        proxy.log.wait_for("shutting down: 1 still running")
        gate.open()
        assert answer.read() == b"".join(EVENTS[1:])
        assert proxy.process.wait(30) == 0
    with running_proxy(tmp_path, upstream.url) as proxy:
        assert proxy.chat(stream=True).cache == "HIT"
        assert proxy.stats()["misses"] == 1


def test_a_stream_that_never_ends_is_cut_when_its_time_is_over(tmp_path: Path, upstream: Upstream) -> None:
    upstream.handler = waiting(upstream.new_event())
    with running_proxy(tmp_path, upstream.url) as proxy:
        answer = proxy.stream()
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(30) == 0
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert any("shutting down: still running and dropped: 1" in line for line in proxy.log)


def test_a_large_answer_is_sent_whole(tmp_path: Path, upstream: Upstream) -> None:
    gate = upstream.new_event()
    upstream.handler = waiting(gate)
    with running_proxy(tmp_path, upstream.url) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(chat_request()), {"authorization": FAKE_KEY})
        upstream.wait_for(1)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.log.wait_for("shutting down: 1 still running")
        gate.open()
        assert len(json.loads(connection.getresponse().read())["choices"][0]["message"]["content"]) == 4_000_000
        connection.close()
        assert proxy.process.wait(30) == 0


@pytest.mark.parametrize("program", [mitmdump, lean_mitmdump], ids=["in a layer", "before the layers"])
def test_a_large_hit_that_is_not_read_yet_is_sent_whole(
    tmp_path: Path, upstream: Upstream, program: tuple[str, ...]
) -> None:
    upstream.handler = always(response(json.dumps(completion("pong" * 2_000_000)).encode()))
    with running_proxy(tmp_path, upstream.url, program=program, CACHE_FAST_LANE="on") as proxy:
        assert proxy.chat().cache == "MISS"
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(chat_request("ping")), {"authorization": FAKE_KEY}
        )
        hit = connection.getresponse()  # the kernels hold less than all of it
        assert hit.headers["x-computer-use-cache"] == "HIT"
        proxy.process.send_signal(signal.SIGTERM)
        proxy.log.wait_for("shutting down: 1 still running")
        assert len(json.loads(hit.read())["choices"][0]["message"]["content"]) == 8_000_000
        connection.close()
        assert proxy.process.wait(30) == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_new_request_gets_an_error_in_the_apis_form(proxy: Proxy, upstream: Upstream, path: str) -> None:
    gate = upstream.new_event()
    upstream.handler = waiting(gate)
    answer = proxy.stream()
    proxy.process.send_signal(signal.SIGTERM)
    proxy.log.wait_for("shutting down: 1 still running")
    late = proxy.post(path, chat_request("another", max_tokens=5))
    assert late.status == 503
    assert late.json()["error"]["message"].startswith("The cache is shutting down")
    gate.open()
    answer.read()
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(proxy: Proxy, upstream: Upstream, second: signal.Signals) -> None:
    upstream.handler = waiting(upstream.new_event())
    answer = proxy.stream()
    proxy.process.send_signal(signal.SIGTERM)
    proxy.log.wait_for("shutting down: 1 still running")
    proxy.process.send_signal(second)
    assert proxy.process.wait(5) == 0, "the first signal alone gives eight seconds"
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_an_idle_connection_is_not_waited_for(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    assert proxy.stop() == 0
    connection.close()
    proxy.reader.join(30)
    assert not any("ending" in line or "Traceback" in line for line in proxy.log), proxy.log
