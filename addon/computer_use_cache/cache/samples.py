"""Numbers the times that a run asks the same request: the n-th time it gets the n-th sample (CACHE_SAMPLES=ordered).

A call that failed gives its number back. The client's own retry of a call asks for the same sample again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST_REQUESTS = 100_000


class Samples:
    """The numbers of one proxy, by run and digest; those of the requests that were asked longest ago are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: OrderedDict[tuple[str, str], set[int]] = OrderedDict()

    def take(self, run: str, digest: str, *, is_retry: bool) -> int:
        """The lowest number that is free, from 1; for a retry the one that was given last."""
        with self._lock:
            taken = self._taken.setdefault((run, digest), set())
            self._taken.move_to_end((run, digest))
            if len(self._taken) > _MOST_REQUESTS:
                self._taken.popitem(last=False)
            number = max(taken, default=1) if is_retry else _lowest_free(taken)
            taken.add(number)
            return number

    def give_back(self, run: str, digest: str, number: int) -> None:
        """The call with that number brought no answer."""
        with self._lock:
            self._taken.get((run, digest), set()).discard(number)

    def forget(self) -> None:
        """Begin a new run."""
        with self._lock:
            self._taken.clear()


def _lowest_free(taken: set[int]) -> int:
    return next(number for number in range(1, len(taken) + 2) if number not in taken)
