"""Memory that cannot outgrow its bound: what was used least recently goes first.

What the package remembers between requests is held by these classes, except pictures, which are found by a few of their
characters (screens/picture.py). They are safe to use from any thread.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable

MOST_SEEN = 32_768
"""How many keys to remember in order to tell which are asked for again. Only those are worth memory: most steps of a
long run are asked for once."""


class Seen[Key]:
    """The last `MOST_SEEN` keys that were added. Every hit asks, so asking takes no lock.

    Only their hashes are kept, which take less memory. Two keys may share one, but hardly ever do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hashes: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return hash(key) in self._hashes

    def add(self, key: Key) -> None:
        """Remember a key, or that it was added again."""
        name = hash(key)
        with self._lock:
            self._hashes[name] = None
            self._hashes.move_to_end(name)
            if len(self._hashes) > MOST_SEEN:
                self._hashes.popitem(last=False)


def trimmed(data: bytes) -> bytes:
    """A copy that takes up no more memory than its length. What orjson writes takes up to sixteen times as much."""
    return bytes(memoryview(data))


def _one(_: object) -> int:
    return 1


class BoundedMemory[Key, Value]:
    """Values by key. Their weights, as `weigh` gives them (by default 1 each), never add up to more than `limit`."""

    def __init__(self, limit: int, weigh: Callable[[Value], int] = _one) -> None:
        self._limit = limit
        self._weigh = weigh
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, tuple[Value, int, float]] = OrderedDict()
        self._weight = 0

    def get(self, key: Key, now: float = 0.0) -> Value | None:
        """The value, unless it expired before `now`, on whatever clock `put` was given its time."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            if held[2] <= now:
                self._drop(key)
                return None
            self._held.move_to_end(key)
            return held[0]

    def put(self, key: Key, value: Value, until: float = math.inf) -> None:
        """Remember a value until it expires or has to make room. One heavier than the limit is not kept."""
        weight = self._weigh(value)
        with self._lock:
            self._drop(key)
            self._held[key] = value, weight, until
            self._weight += weight
            while self._weight > self._limit:
                self._drop(next(iter(self._held)))

    def drop(self, key: Key) -> None:
        """Forget one value, if it is there."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._weight = 0

    def _drop(self, key: Key) -> None:
        if held := self._held.pop(key, None):
            self._weight -= held[1]
