"""Which servers do not answer. One that failed is left alone for a while, during which calls to it fail at once.

An outage is logged once, however many servers and calls it concerns, and so is its end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection

from computer_use_cache.errors import StoreDown

logger = logging.getLogger(__name__)

_REST_SECONDS = 3.0
"""How long a server that failed is left alone."""


class Outages:
    """The outages among the servers of `place`. `members` returns their names; `consequence` says, for the log, what
    happens during an outage."""

    def __init__(self, place: str, consequence: str, members: Callable[[], Collection[str]]) -> None:
        self._place = place
        self._consequence = consequence
        self._members = members
        self._lock = threading.Lock()
        self._down_until: dict[str, float] = {}

    def is_trial(self, server: str) -> bool:
        """True for the one caller who may try a server that was down; for all others this raises StoreDown."""
        with self._lock:
            if server not in self._down_until:
                return False
            if time.monotonic() < self._down_until[server]:
                raise StoreDown(f"{self._place} did not answer a moment ago")
            self._down_until[server] = time.monotonic() + _REST_SECONDS
            return True

    def begin(self, server: str, error: Exception) -> StoreDown:
        """Leave a failed server alone for a while, unless it has been replaced. Returns the error to raise."""
        is_member = server in self._members()
        with self._lock:
            is_first = is_member and not self._down_until
            if is_member:
                self._down_until[server] = time.monotonic() + _REST_SECONDS
        reason = str(error).rstrip(".")
        why = f"{self._place} does not answer: {reason}; check it, CACHE_STORE_URL and CACHE_STORE_PASSWORD"
        if is_first:
            logger.warning("%s; until it does, %s", why, self._consequence)
        return StoreDown(why)

    def end(self, server: str) -> None:
        """A trial succeeded."""
        with self._lock:
            was_last = self._down_until.pop(server, None) is not None and not self._down_until
        if was_last:
            logger.info("%s answers again", self._place)

    def end_replaced(self) -> None:
        """End the outages of servers that others have replaced."""
        for server in set(self._down_until) - set(self._members()):
            self.end(server)
