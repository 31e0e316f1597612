"""Connections that wait together are accepted together, and none after the server was closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
import uvloop

from computer_use_cache.launch.acceptor import Acceptor

WAITING = 50


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).made += 1
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)  # type: ignore[attr-defined]  # uvloop's does not inherit from asyncio's


def test_all_that_wait_are_accepted_in_a_few_rounds_of_the_event_loop_and_served() -> None:
    async def run() -> None:
        Echo.made, acceptor = 0, Acceptor(Echo)
        acceptor.server = await asyncio.get_running_loop().create_server(
            acceptor.accept, "127.0.0.1", 0, backlog=WAITING
        )
        place = acceptor.server.sockets[0].getsockname()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(place)) for _ in range(WAITING)]
            for _ in range(10):
                await asyncio.sleep(0)
            assert Echo.made == WAITING
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            assert [await asyncio.to_thread(client.recv, 9) for client in clients] == [
                b"%d" % number for number in range(WAITING)
            ]
            acceptor.server.close()
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(place)

    uvloop.run(run())
