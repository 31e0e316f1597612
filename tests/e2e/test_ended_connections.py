"""A connection that has ended is freed at once, however it ended: the garbage collector would hold up every agent."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.sync.client import connect

from forked import lean_mitmdump
from support import (
    FAKE_KEY,
    STREAM_HEAD,
    Asked,
    Gate,
    Proxy,
    Send,
    Upstream,
    answer_chat,
    chat_events,
    chat_request,
    chunk,
    running_proxy,
)

COUNT = """
import gc
import weakref

from mitmproxy import http

from computer_use_cache.proxy.connection_handler import CacheConnectionHandler
from computer_use_cache.proxy.http.client import CacheHttp1Client
from computer_use_cache.proxy.http.layer import CacheHttpLayer
from computer_use_cache.proxy.http.server import CacheHttp1Server
from computer_use_cache.proxy.http.stream import CacheStream
from computer_use_cache.proxy.http.websocket import WebsocketServer

gc.disable()
alive = weakref.WeakSet()


def counted(begin):
    def begin_and_count(one, *arguments, **named):
        begin(one, *arguments, **named)
        alive.add(one)

    return begin_and_count


for kind in (CacheConnectionHandler, CacheHttpLayer, CacheHttp1Server, CacheStream, CacheHttp1Client, WebsocketServer):
    kind.__init__ = counted(kind.__init__)


def request(flow):
    if flow.request.path == "/alive":
        flow.response = http.Response.make(200, " ".join(sorted(type(one).__name__ for one in alive if vars(one))))
"""
"""Tells what is alive of all connections and holds something. What refers to itself in a circle is never freed."""
ITS_OWN = b"CacheConnectionHandler CacheHttp1Server CacheStream FastHttpLayer"
"""What the connection that asks consists of."""
HEADERS = {"authorization": f"Bearer {FAKE_KEY}"}


@dataclass
class Site:
    """A proxy that also serves as an HTTP proxy, and its upstream, which waits for the gate where it is told to."""

    proxy: Proxy
    upstream: Upstream
    gate: Gate


def read_and_leave(site: Site) -> None:
    answer = site.proxy.stream()
    answer.read()
    answer.leave()


def leave_while_another_follows(site: Site) -> None:
    leader, follower = site.proxy.stream("waits"), site.proxy.stream("waits")
    leader.leave()
    site.proxy.log.wait_for("client disconnect")
    site.gate.open()
    follower.read()
    follower.leave()


def leave_an_answer_that_others_wait_for(site: Site) -> None:
    body = json.dumps(chat_request("waits")).encode()
    leader, follower = (http.client.HTTPConnection("127.0.0.1", site.proxy.port, timeout=60) for _ in range(2))
    for number, connection in enumerate((leader, follower), 1):
        connection.request("POST", "/v1/chat/completions", body, HEADERS)
        site.proxy.log.wait_for("client connect", number)
        site.upstream.wait_for(1)
    leader.close()
    site.proxy.log.wait_for("client disconnect")
    site.gate.open()
    follower.getresponse().read()
    follower.close()


def go_through_a_tunnel(site: Site) -> None:
    with contextlib.closing(http.client.HTTPConnection(*site.proxy.http_proxy(), timeout=60)) as connection:
        connection.set_tunnel("127.0.0.1", site.upstream.port)
        connection.request("POST", "/v1/chat/completions", json.dumps(chat_request()), HEADERS)
        assert connection.getresponse().read()


def open_a_websocket(site: Site) -> None:
    with connect(f"ws://127.0.0.1:{site.proxy.port}/v1/responses", additional_headers=HEADERS):
        pass


async def provider(asked: Asked, send: Send) -> None:
    if b"resets" in asked.body:
        raise ConnectionResetError
    if b"breaks off" in asked.body:
        await send(STREAM_HEAD + chunk(chat_events("p")[0]))
        raise ConnectionResetError
    await answer_chat(asked, send)


WAYS: dict[str, Callable[[Site], object]] = {
    "a miss": lambda site: site.proxy.chat(),
    "a stream": read_and_leave,
    "a hit": lambda site: [site.proxy.chat() for _ in range(3)],
    "another path": lambda site: site.proxy.ask("GET", "/v1/models"),
    "a refused request": lambda site: site.proxy.chat(headers={"x-cache-mode": "fast"}),
    "the client leaves": lambda site: site.proxy.stream("waits").leave(),
    "the client leaves while another follows": leave_while_another_follows,
    "the client leaves an answer that others wait for": leave_an_answer_that_others_wait_for,
    "the upstream resets": lambda site: site.proxy.chat("resets"),
    "the upstream breaks off": lambda site: site.proxy.stream("breaks off").leave(),
    "a tunnel": go_through_a_tunnel,
    "a websocket": open_a_websocket,
}


@pytest.mark.parametrize("way", WAYS)
def test_an_ended_connection_leaves_nothing_in_memory(tmp_path: Path, upstream: Upstream, way: str) -> None:
    script = tmp_path / "count.py"
    script.write_text(COUNT)
    gate = upstream.new_event()

    async def handler(asked: Asked, send: Send) -> None:
        if b"waits" in asked.body and asked.json().get("stream"):
            first, *rest = chat_events("po", "ng")
            await send(STREAM_HEAD + chunk(first))
            await gate.wait()
            await send(b"".join(map(chunk, [*rest, b""])))
            return
        if b"waits" in asked.body:
            await gate.wait()
        await provider(asked, send)

    upstream.handler = handler
    arguments = ("-v", "-s", str(script), "--mode", "regular@127.0.0.2:0")
    with running_proxy(tmp_path, upstream.url, *arguments, program=lean_mitmdump, CACHE_HOSTS="127.0.0.1") as proxy:
        WAYS[way](Site(proxy, upstream, gate))
        alive = [proxy.ask("GET", "/alive").body for _ in range(100)]
        assert ITS_OWN in alive, alive[-1]
    assert not any("crashed" in line for line in proxy.log)
