"""When misses are studied: at once while the proxy has time for it, else in a quieter moment.

Streams that are under way come first, because a study holds the interpreter. It is put off if others wait for the
thread already, if many calls are under way, or if some are and the event loop is late. Studies that were put off are
made up for once the loop is on time: one after another while the proxy is idle, else in a small share of the time. The
near miss is logged with its own time, even if the nearest entry was stored meanwhile: the two would have shared an
answer. Only the newest studies that were put off are kept, more than the log of misses has room for; the others are
dropped, and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Study
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.flights.flight import Flights
from computer_use_cache.store.base import KEPT_MISSES

logger = logging.getLogger(__name__)

_MOST_WAITING = 4
"""Studies that may wait for the only thread that runs them: answers wait for theirs before they are stored."""
_MANY_CALLS = 16
"""With more calls under way than this, studies wait."""
_SOME_CALLS = 8
"""With more calls under way than this, studies wait while the event loop is late."""
_LATE_SECONDS = 0.005
_MOST_PUT_OFF = 2 * KEPT_MISSES
_MOST_BYTES = 16 * 1024 * 1024
"""How many bytes the bodies of the requests whose studies were put off may have together."""
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
_SHARE = 0.02
"""The share of the time that making up for studies takes at most, unless the proxy is idle."""


@dataclass(frozen=True, slots=True)
class _PutOff:
    plan: Plan
    at: float
    """When it was a miss, in Unix seconds."""


class Studies:
    """The studies of one proxy's misses."""

    def __init__(self, cache: Cache, ledger: Ledger, run: Runners, flights: Flights) -> None:
        self._cache = cache
        self._ledger = ledger
        self._run = run
        self._flights = flights
        self._waiting = 0
        self._put_off: deque[_PutOff] = deque()
        self._bytes = 0
        self._making_up: asyncio.Task[None] | None = None
        self._served = 0
        """How many requests the proxy had served when this was last looked at."""

    async def study(self, plan: Plan, late: float) -> Study | None:
        """The study of a miss, None if it is put off. `late` is by how many seconds the event loop is late."""
        calls = len(self._flights)
        is_busy = calls > _MANY_CALLS or (late > _LATE_SECONDS and calls > _SOME_CALLS)
        if is_busy or self._waiting >= _MOST_WAITING:
            return None
        self._waiting += 1
        try:
            return await self._run.study(near_miss.study, self._cache, plan)
        finally:
            self._waiting -= 1

    def put_off(self, plan: Plan, at: float) -> None:
        """Study a miss later. Its answer has been recorded at `at` (Unix seconds)."""
        self._ledger.study_put_off()
        self._put_off.append(_PutOff(plan, at))
        self._bytes += len(plan.forward)
        while self._bytes > _MOST_BYTES or len(self._put_off) > _MOST_PUT_OFF:
            self._next()
            self._ledger.study_dropped()
        if not self.is_making_up:
            self._making_up = asyncio.create_task(self._make_up())

    @property
    def is_making_up(self) -> bool:
        """Whether studies that were put off are still to be done."""
        return self._making_up is not None and not self._making_up.done()

    def _next(self) -> _PutOff:
        one = self._put_off.popleft()
        self._bytes -= len(one.plan.forward)
        return one

    async def _make_up(self) -> None:
        loop, pause = asyncio.get_running_loop(), _PAUSE_SECONDS
        while self._put_off:
            if await self._pause(pause) > _LATE_SECONDS or self._waiting:
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            if not self._put_off:
                break  # a large one has come meanwhile, and there is room for none
            begun = loop.time()
            try:
                await self._study_late(self._next())
            except Exception:
                logger.exception("the cache failed; a near miss was not studied")
            else:
                self._ledger.study_made_up()
            pause = max(loop.time() - begun, 0.001) / _SHARE

    async def _pause(self, seconds: float) -> float:
        """Wait this long, or until the proxy is idle. Returns by how many seconds the event loop is late."""
        loop = asyncio.get_running_loop()
        while True:
            wait = 0.0 if self._is_idle() else min(seconds, _LONGEST_PAUSE_SECONDS)
            due = loop.time() + wait
            await asyncio.sleep(wait)
            seconds -= wait
            if not wait or seconds <= 0:
                return loop.time() - due

    def _is_idle(self) -> bool:
        """Whether no call is under way, and no request has been served since the last look: a hit is served between two
        looks, and would wait for the interpreter while a study computes."""
        served_before, self._served = self._served, self._ledger.served_requests
        return self._served == served_before and not len(self._flights) and not self._waiting

    async def _study_late(self, one: _PutOff) -> None:
        near = (await self._run.study(near_miss.study, self._cache, one.plan)).near
        if near:
            await self._run.write(near_miss.log_miss, self._cache, one.plan, near, one.at)

    def close(self) -> None:
        """Study no more."""
        if self._making_up:
            self._making_up.cancel()
