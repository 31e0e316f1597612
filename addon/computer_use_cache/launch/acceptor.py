"""Accepts all connections that wait.

uvloop accepts one connection in each round of its loop. If hundreds of agents start at once, rounds take long, and the
last agents would wait for seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable


class Acceptor:
    """For one server, which is set once it listens. `make` makes the protocol of a connection."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self.server: asyncio.Server | None = None
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self._accepted: set[asyncio.Task[object]] = set()
        """Connections that do not have their protocols yet. The event loop itself would let go of them."""

    def accept(self) -> asyncio.Protocol:
        """The protocol of a connection that the event loop has accepted. Others may wait behind it."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._accept_others)
        return self._make()

    def _accept_others(self) -> None:
        self._is_due = False
        for listening in self.server.sockets if self.server else ():
            # A copy, because uvloop's sockets cannot accept; kept open, it would listen when the server is closed.
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(listening.fileno())) as copy:
                copy.setblocking(False)
                while True:
                    connection, _ = copy.accept()
                    connection.setblocking(False)
                    task = self._loop.create_task(self._loop.connect_accepted_socket(self._make, connection))
                    self._accepted.add(task)
                    task.add_done_callback(self._accepted.discard)
