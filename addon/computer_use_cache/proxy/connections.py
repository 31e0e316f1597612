"""The client connections of one proxy: when all are answered, and how many upstream connections each may have."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from mitmproxy.connection import Client

if TYPE_CHECKING:
    from mitmproxy.addons.proxyserver import Proxyserver

_MOST_UPSTREAM_CONNECTIONS = 200
"""Upstream connections to one address per client connection. A websocket and an HTTP/2 connection each allow 100
requests at a time, and each may need an upstream connection of its own."""


class Connection(Protocol):
    """A client connection: on the listening socket, or in mitmproxy's HTTP layer."""

    @property
    def unanswered(self) -> int:
        """How many requests have no complete answer yet."""


class Connections:
    """The open connections. Shutdown waits until they have answered their requests."""

    def __init__(self) -> None:
        self._all: WeakSet[Connection] = WeakSet()

    def add(self, connection: Connection) -> None:
        self._all.add(connection)

    def discard(self, connection: Connection) -> None:
        self._all.discard(connection)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def unanswered(self) -> int:
        return sum(connection.unanswered for connection in self._all)


def raise_upstream_limit(server: Proxyserver, client: Client) -> None:
    """Let a client that has just connected have as many requests answered by its upstream as it may send at a time.

    mitmproxy allows five connections to an address and counts idle ones. The sixth request would wait until one closes,
    which for a websocket may be never.
    """
    if handler := server.connections.get(client.id):  # a request replayed from mitmproxy's interface has none
        handler.max_conns = defaultdict(lambda: asyncio.Semaphore(_MOST_UPSTREAM_CONNECTIONS))
