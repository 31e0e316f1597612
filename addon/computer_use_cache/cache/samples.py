"""Counts how often a run makes the same request: the n-th time it gets the n-th sample (CACHE_SAMPLES=ordered).

A failed call gives its number back. When a client retries a call, it gets the same sample again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import count

from computer_use_cache.memory import BoundedMemory

_MOST_REQUESTS = 100_000


@dataclass(slots=True)
class _Given:
    numbers: set[int] = field(default_factory=set)
    last: int = 0


class Samples:
    """The numbers given out by one proxy, by run and digest. The least recently used are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given = BoundedMemory[tuple[str, str], _Given](_MOST_REQUESTS)

    def take(self, run: str, digest: str, *, is_retry: bool) -> int:
        """The lowest free number, from 1; for a retry, the number given last."""
        with self._lock:
            given = self._given.get((run, digest))
            if given is None:
                given = _Given()
                self._given.put((run, digest), given)
            if not is_retry or not given.last:
                given.last = next(number for number in count(1) if number not in given.numbers)
            given.numbers.add(given.last)
            return given.last

    def give_back(self, run: str, digest: str, number: int) -> None:
        """The call with that number brought no answer."""
        with self._lock:
            if given := self._given.get((run, digest)):
                given.numbers.discard(number)

    def forget(self) -> None:
        """Begin a new run."""
        with self._lock:
            self._given.clear()
