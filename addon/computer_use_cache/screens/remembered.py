"""What was found out about pairs of pictures: every later step of a conversation shows the same pairs again."""

from __future__ import annotations

import threading
from collections.abc import Hashable

_MOST = 8192


class Remembered[Key: Hashable, Value]:
    """The values found last, by key. Any thread may use it."""

    def __init__(self) -> None:
        self._values: dict[Key, Value] = {}
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value that was found for a key, if it is remembered."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Remember a value, and forget the oldest one if there are too many."""
        with self._lock:
            self._values[key] = value
            if len(self._values) > _MOST:
                del self._values[next(iter(self._values))]
