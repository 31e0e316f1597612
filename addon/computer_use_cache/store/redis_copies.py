"""Copies in memory of entries on the servers, for agents that take the same step together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator

from computer_use_cache.memory import BoundedMemory
from computer_use_cache.models import Entry
from computer_use_cache.store.base import weight

_COPY_SECONDS = 1.0
"""How long a copy may hide another proxy's clear, delete or replacement: short for a person who clears the cache, but
long enough for agents that take the same step together."""
_COPIES_BYTES = 32 * 1024 * 1024


class Copies:
    """The entries that were read a moment ago. This proxy's own changes are seen at once, also by a read that began
    before the change and ends after it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = BoundedMemory[str, Entry](_COPIES_BYTES, weight)
        self._reads: dict[str, object] = {}
        """The last read of each key that is under way, unless the entry has changed since it began."""

    def get(self, key: str) -> Entry | None:
        return self._held.get(key, time.monotonic())

    @contextlib.contextmanager
    def reading(self, key: str) -> Iterator[list[Entry]]:
        """A read of an entry: what the block appends is kept, unless the entry changed meanwhile."""
        read = list[Entry]()
        with self._lock:
            self._reads[key] = read
        try:
            yield read
        finally:
            with self._lock:
                if self._reads.get(key) is read:
                    del self._reads[key]
                    for entry in read:
                        self._held.put(key, entry, time.monotonic() + _COPY_SECONDS)

    def drop(self, keys: Iterable[str]) -> None:
        """These entries have changed."""
        with self._lock:
            for key in keys:
                self._reads.pop(key, None)
                self._held.drop(key)

    def clear(self) -> None:
        with self._lock:
            self._reads.clear()
            self._held.clear()
