"""Memory that cannot outgrow its bound: what was used least recently goes first, or a newer key takes its place.

What the package remembers between requests is held by these classes, except pictures, which are found by a few of their
characters (screens/picture.py). They are safe to use from any thread.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable

_SLOTS = 2**16


class Seen[Key]:
    """Keys that were added lately. Each stays until another takes its slot. There are 65,536 slots.

    It tells which keys are asked for again. Only those are worth memory: most steps of a long run are asked for once.
    It holds their hashes, which take half a MiB from the beginning and need no lock. Two keys may have the same hash,
    but hardly ever do.
    """

    def __init__(self) -> None:
        self._hashes = array("q", [-1]) * _SLOTS  # no hash is -1

    def __contains__(self, key: Key) -> bool:
        name = hash(key)
        return self._hashes[name % _SLOTS] == name

    def add(self, key: Key) -> None:
        """Remember a key."""
        name = hash(key)
        self._hashes[name % _SLOTS] = name


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
