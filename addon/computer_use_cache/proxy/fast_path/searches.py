"""Runs the searches of all connections that arrive in one turn of the event loop together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from computer_use_cache.proxy.fast_path.conversation import Search, search_quickly


class Searches:
    """The searches of this turn, each with what to do afterwards."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Search, Callable[[], None]]] = []

    def add(self, search: Search, then: Callable[[], None]) -> None:
        """Run a search as far as the event loop may, before anything else is received; then call `then`, which must not
        raise."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append((search, then))

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        search_quickly([search for search, _ in waiting])
        for _, then in waiting:
            then()
