"""The client connections of one proxy. Its shutdown waits until they have answered their requests."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet


class Connection(Protocol):
    """A client connection: on the listening socket, or in mitmproxy's HTTP layer."""

    @property
    def unanswered(self) -> int:
        """How many requests have no complete answer yet."""


class Connections:
    """The open connections."""

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
