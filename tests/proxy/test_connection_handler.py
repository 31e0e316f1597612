"""Hooks go on at once where the addon waits for nothing, and in their order where it does."""

from __future__ import annotations

import asyncio
import warnings
from types import SimpleNamespace
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what mitmproxy's own addons import
    from computer_use_cache.proxy.connection_handler import CacheConnectionHandler
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server_hooks import ClientConnectedHook
from mitmproxy.test.tflow import tclient_conn


class Asking(Layer):
    """Calls two hooks for each piece that arrives, and notes when it goes on."""

    def __init__(self, context: Any, noted: list[str]) -> None:
        super().__init__(context)
        self._noted = noted

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            for number in (1, 2):
                yield ClientConnectedHook(self.context.client)
                self._noted.append(f"{event.data.decode()}{number}")


class Handler(CacheConnectionHandler):
    """Its addon waits until it `may_go_on`."""

    def __init__(self, noted: list[str]) -> None:
        client = tclient_conn()
        known = {"transport_protocol": "tcp", "peername": client.peername, "sockname": client.sockname}
        writer: Any = SimpleNamespace(get_extra_info=lambda name, default=None: known.get(name, default))
        super().__init__(None, None, writer, Options(), ProxyMode.parse("regular"))
        self.layer = Asking(self.layer.context, noted)
        self.may_go_on = asyncio.Event()

    async def handle_hook(self, hook: commands.StartHook) -> None:
        await self.may_go_on.wait()

    async def receive_piece(self, data: bytes) -> None:
        await self.server_event(events.DataReceived(self.client, data))


def test_a_hook_that_waits_for_nothing_is_completed_before_the_event_is_over() -> None:
    noted = list[str]()

    async def live() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # as mitmproxy does
        handler = Handler(noted)
        handler.may_go_on.set()
        asyncio.create_task(handler.receive_piece(b"a"))  # noqa: RUF006  # it has ended when this returns
        assert noted == ["a1", "a2"]

    asyncio.run(live())


def test_pieces_that_arrive_while_a_hook_waits_are_handled_after_it() -> None:
    noted = list[str]()

    async def live() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        handler = Handler(noted)
        for piece in (b"a", b"b"):
            await handler.receive_piece(piece)
        assert noted == []
        handler.may_go_on.set()
        async with asyncio.timeout(30):
            while len(noted) < 4:
                await asyncio.sleep(0)

    asyncio.run(live())
    assert noted == ["a1", "a2", "b1", "b2"]
