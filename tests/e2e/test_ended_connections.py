"""A connection that has ended is freed at once, however it ended: the garbage collector would hold up every agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from forked import lean_mitmdump
from support import STREAM_HEAD, Asked, Proxy, Send, Upstream, answer_chat, chat_events, chunk, running_proxy

COUNT = """
import gc
import weakref

from mitmproxy import http

from computer_use_cache.proxy.connection_handler import CacheConnectionHandler
from computer_use_cache.proxy.http.client import CacheHttp1Client
from computer_use_cache.proxy.http.server import CacheHttp1Server
from computer_use_cache.proxy.http.stream import CacheStream

gc.disable()
alive = weakref.WeakSet()


def counted(begin):
    def begin_and_count(one, *arguments, **named):
        begin(one, *arguments, **named)
        alive.add(one)

    return begin_and_count


for kind in (CacheConnectionHandler, CacheHttp1Server, CacheStream, CacheHttp1Client):
    kind.__init__ = counted(kind.__init__)


def request(flow):
    if flow.request.path == "/alive":
        flow.response = http.Response.make(200, " ".join(sorted(type(one).__name__ for one in alive)))
"""
"""Tells what is alive of all connections. Nothing that refers to itself in a circle is ever freed."""
ITS_OWN = b"CacheConnectionHandler CacheHttp1Server CacheStream"
"""What the connection that asks consists of."""


async def provider(asked: Asked, send: Send) -> None:
    if b"resets" in asked.body:
        raise ConnectionResetError
    if b"breaks off" in asked.body:
        await send(STREAM_HEAD + chunk(chat_events("p")[0]))
        raise ConnectionResetError
    await answer_chat(asked, send)


def read_and_leave(proxy: Proxy) -> None:
    answer = proxy.stream()
    answer.read()
    answer.leave()


WAYS: dict[str, Callable[[Proxy], object]] = {
    "a miss": lambda proxy: proxy.chat(),
    "a stream": read_and_leave,
    "a hit": lambda proxy: [proxy.chat() for _ in range(3)],
    "another path": lambda proxy: proxy.ask("GET", "/v1/models"),
    "a refused request": lambda proxy: proxy.chat(headers={"x-cache-mode": "fast"}),
    "the client leaves": lambda proxy: proxy.stream("waits").leave(),
    "the upstream resets": lambda proxy: proxy.chat("resets"),
    "the upstream breaks off": lambda proxy: proxy.stream("breaks off").leave(),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_ended_connection_leaves_nothing_in_memory(tmp_path: Path, upstream: Upstream, way: str) -> None:
    script = tmp_path / "count.py"
    script.write_text(COUNT)
    gate = upstream.new_event()

    async def handler(asked: Asked, send: Send) -> None:
        if b"waits" in asked.body:
            await send(STREAM_HEAD + chunk(chat_events("p")[0]))
            await gate.wait()
        await provider(asked, send)

    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url, "-s", str(script), program=lean_mitmdump) as proxy:
        WAYS[way](proxy)
        alive = [proxy.ask("GET", "/alive").body for _ in range(100)]
        assert ITS_OWN in alive, alive[-1]
