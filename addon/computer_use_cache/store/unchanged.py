"""The entries of a database that were read a moment ago, kept in memory for as long as nothing in it has changed.

SQLite tells a connection when another one, of this process or any other, has changed the database (data_version), and
how many rows it has changed itself: a copy is given to the connection that read it, while both are the same.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from typing import Any, NamedTuple

from computer_use_cache.models import Entry

_MOST_BYTES = 32 * 1024 * 1024
_ENTRY_BYTES = 2048
"""About what an entry takes besides its body."""


class State(NamedTuple):
    """The state of a database as one connection sees it."""

    connection: sqlite3.Connection
    data_version: int
    own_changes: int


def state_of(shard: Any) -> State:
    """The state that this thread's connection of a diskcache sees now."""
    connection = shard._con
    (data_version,) = connection.execute("PRAGMA data_version").fetchone()
    return State(connection, data_version, connection.total_changes)


class UnchangedEntries:
    """Copies by key, bounded by the bytes that they take; those that were not asked for longest go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: OrderedDict[str, tuple[State, float, Entry]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str, state: State) -> Entry | None:
        """The copy, if it was read in this very state and is not expired."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is None or copy[0] != state or copy[1] <= time.time():
                return None
            self._copies.move_to_end(key)
            return copy[2]

    def add(self, entry: Entry, state: State, expires_at: float) -> None:
        """Keep a copy of what was read after `state` was; the database has it until `expires_at` (Unix seconds)."""
        with self._lock:
            self._drop(entry.key)
            self._copies[entry.key] = state, expires_at, entry
            self._bytes += _ENTRY_BYTES + len(entry.body)
            while self._bytes > _MOST_BYTES:
                self._drop(next(iter(self._copies)))

    def clear(self) -> None:
        """Forget all, and let go of the connections."""
        with self._lock:
            self._copies.clear()
            self._bytes = 0

    def _drop(self, key: str) -> None:
        if copy := self._copies.pop(key, None):
            self._bytes -= _ENTRY_BYTES + len(copy[2].body)
