"""The entries that a proxy got from a shared store a moment ago, kept in memory for no longer than that moment."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from computer_use_cache.models import Entry

_SECONDS = 1.0
"""How long another proxy's clear, delete or replacement may stay unnoticed: short enough for a person who cleared,
long enough for a fleet of agents that take the same step together."""
_MOST_BYTES = 32 * 1024 * 1024


class HotEntries:
    """Copies by key, bounded by the bytes of their bodies; the oldest go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: OrderedDict[str, tuple[float, Entry]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Entry | None:
        """The copy, unless its second is over."""
        with self._lock:
            self._drop_old()
            _, entry = self._copies.get(key, (0.0, None))
            return entry

    def add(self, entry: Entry) -> None:
        """Keep a copy of what the store just gave."""
        with self._lock:
            self._drop(entry.key)
            self._copies[entry.key] = time.monotonic(), entry
            self._bytes += len(entry.body)
            self._drop_old()

    def drop(self, key: str) -> None:
        """Forget one copy: its entry is about to change."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._copies.clear()
            self._bytes = 0

    def _drop_old(self) -> None:
        limit = time.monotonic() - _SECONDS
        while self._copies:
            key, (taken_at, _) = next(iter(self._copies.items()))
            if taken_at > limit and self._bytes <= _MOST_BYTES:
                return
            self._drop(key)

    def _drop(self, key: str) -> None:
        _, entry = self._copies.pop(key, (0.0, None))
        if entry:
            self._bytes -= len(entry.body)
