"""Stores answers in the thread that writes. Those that arrive while it is busy are stored together, which takes less
time for each."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass

from computer_use_cache.cache.cache import Cache
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.storing import NOT_WRITTEN, Arrived, Recorded, keep

_MOST = 100
"""Answers stored together. Other processes that use the store wait meanwhile."""


@dataclass(slots=True)
class _Waiting:
    """An answer that waits for the thread. `recorded` stays None if storing the answers together with it fails."""

    arrived: Arrived
    recorded: Recorded | None = None
    has_had_its_turn: bool = False


class StoringThread:
    """The answers of one proxy that wait for the thread."""

    def __init__(self, cache: Cache, run: Runners) -> None:
        self._cache = cache
        self._run = run
        self._waiting = deque[_Waiting]()

    async def keep(self, arrived: Arrived) -> Recorded:
        """Store an answer that has just arrived, if it may be stored."""
        waiting = _Waiting(arrived)
        self._waiting.append(waiting)
        await self._run.write(self._store, waiting)
        if waiting.recorded is None:  # alone, so that only the one that fails does
            (waiting.recorded,) = await self._run.write(keep, self._cache, [arrived])
        return waiting.recorded

    def _store(self, own: _Waiting) -> None:
        """Store what waits, the oldest first, until this answer has had its turn, which may be before the call."""
        while not own.has_had_its_turn:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST))]
            for waiting in batch:
                waiting.has_had_its_turn = True
            with contextlib.suppress(Exception):
                for waiting, recorded in zip(batch, keep(self._cache, [one.arrived for one in batch]), strict=True):
                    if len(batch) == 1 or recorded.kept != NOT_WRITTEN:
                        waiting.recorded = recorded
