"""Stores streamed answers that have passed to their clients.

The end of a stream waits until its answer is stored, so that what the client does next finds it there. If several
answers wait to be stored already, their clients do not wait too. Until then, an identical request follows the call,
and one that differs in values that rebinding moves waits (unstored.py). If a thousand wait, each client waits until the
answer a thousand places before its own is stored: clients that ask faster than answers can be stored slow down evenly.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from computer_use_cache.exchange.decisions import FAULT
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.result import Result
from computer_use_cache.exchange.unstored import Unstored
from computer_use_cache.models import Response

logger = logging.getLogger(__name__)

_FEW = 4
"""With fewer answers waiting to be stored, waiting costs nothing."""
_MANY = 1000
"""How many answers may wait before clients wait for them. A shutdown stores these within a few seconds."""
_MOST_BYTES = 64 * 1024 * 1024
"""The most that requests and answers may take up while no client waits for them. With a slow store, screenshots would
fill the memory."""


class Keeping:
    """The answers of one proxy that wait to be stored."""

    def __init__(self, now: Callable[[], float], unstored: Unstored) -> None:
        """`now` returns Unix seconds."""
        self._now = now
        self._unstored = unstored
        self._waiting = 0
        self._left_alone = deque[asyncio.Task[None]]()
        """Those that their clients do not wait for, the oldest first."""
        self._bytes_left_alone = 0

    async def keep(self, exchange: Exchange, answer: Response, on_settled: Callable[[Result], None]) -> None:
        """Keep a complete answer and settle its exchange, even if that fails. Returns early if the client need not
        wait for it."""
        held = len(exchange.plan.forward) + len(answer.body)
        if self._waiting < _FEW or self._bytes_left_alone + held > _MOST_BYTES:
            await self._keep(exchange, answer, on_settled)
            return
        task = asyncio.create_task(self._keep_alone(exchange, answer, on_settled, held))
        self._left_alone.append(task)
        task.add_done_callback(self._left_alone.remove)
        self._unstored.add(exchange.plan, task)
        if len(self._left_alone) > _MANY:
            await asyncio.wait([self._left_alone[-1 - _MANY]])

    async def _keep(self, exchange: Exchange, answer: Response, on_settled: Callable[[Result], None]) -> None:
        self._waiting += 1
        try:
            on_settled(exchange.settle(await exchange.on_response(answer), self._now()))
        finally:
            self._waiting -= 1
            exchange.settle(FAULT, self._now())

    async def _keep_alone(
        self, exchange: Exchange, answer: Response, on_settled: Callable[[Result], None], held: int
    ) -> None:
        self._bytes_left_alone += held
        try:
            await self._keep(exchange, answer, on_settled)
        except Exception:
            logger.exception("the cache failed; the answer was not recorded")
        finally:
            self._bytes_left_alone -= held

    async def ended(self) -> None:
        """Wait until all answers are stored."""
        while self._left_alone:
            await asyncio.wait(self._left_alone)
