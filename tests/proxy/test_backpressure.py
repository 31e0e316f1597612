"""An answer that an addon streams goes on when its client has read what it was sent, or is gone."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mitmproxy.proxy.server import ConnectionIO

from computer_use_cache.proxy.backpressure import MOST_UNSENT, client_reads

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what mitmproxy's own addons import
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.test import taddons


class Handler:
    """The handler of a connection whose client reads from `peer`."""

    def __init__(self, writer: asyncio.StreamWriter, peer: socket.socket) -> None:
        self.client = "client"
        self.peer = peer
        self.connection = asyncio.create_task(asyncio.Event().wait())
        self.transports = {self.client: ConnectionIO(self.connection, None, writer)}

    async def on_timeout(self) -> None:
        self.connection.cancel()


def connected(scenario: Callable[[Handler, asyncio.StreamWriter], Awaitable[None]], **options: Any) -> None:
    """Run a scenario with a client that has read nothing yet."""

    async def run() -> None:
        own, peer = socket.socketpair()
        peer.setblocking(False)
        _, writer = await asyncio.open_connection(sock=own)
        proxyserver: Any = Proxyserver()
        with taddons.context(proxyserver) as context, peer:
            context.configure(proxyserver, **options)
            handler = Handler(writer, peer)
            proxyserver.connections["id"] = handler
            async with asyncio.timeout(60):
                await scenario(handler, writer)
            handler.connection.cancel()
            writer.transport.abort()

    asyncio.run(run())


async def read_everything(handler: Handler, writer: asyncio.StreamWriter) -> None:
    while writer.transport.get_write_buffer_size():
        await asyncio.get_running_loop().sock_recv(handler.peer, 2**20)


async def leave(handler: Handler, writer: asyncio.StreamWriter) -> None:
    handler.peer.close()


async def be_closed(handler: Handler, writer: asyncio.StreamWriter) -> None:
    writer.close()
    handler.connection.cancel()


@pytest.mark.parametrize("sent", [0, 1, MOST_UNSENT])
def test_a_client_that_keeps_up_costs_no_wait(sent: int) -> None:
    async def scenario(handler: Handler, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(sent))
        with pytest.raises(StopIteration):
            client_reads("id").send(None)
        with pytest.raises(StopIteration):
            client_reads("one that has left").send(None)

    connected(scenario)


@pytest.mark.parametrize("end", [read_everything, leave, be_closed])
def test_an_answer_waits_until_its_client_reads_or_is_gone(
    end: Callable[[Handler, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async def scenario(handler: Handler, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(2**24))
        waiting = asyncio.create_task(client_reads("id"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        await end(handler, writer)
        await waiting

    connected(scenario)


def test_a_client_that_reads_nothing_for_too_long_is_disconnected() -> None:
    async def scenario(handler: Handler, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(2**24))
        await client_reads("id")
        assert handler.connection.cancelling()

    connected(scenario, tcp_timeout=0)
