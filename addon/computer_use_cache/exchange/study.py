"""Studies one miss in a thread while the upstream works: makes the record to store, and finds the nearest entry."""

from __future__ import annotations

import asyncio

from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis.near_miss import Near, Study
from computer_use_cache.exchange.shared import Shared

_DELAY_SECONDS = 0.005
"""Lets the request be sent first. Few upstreams answer sooner than this."""


class MissStudy:
    """The study of one planned request that has a key."""

    def __init__(self, shared: Shared, plan: Plan) -> None:
        self._shared = shared
        self._plan = plan
        self._task: asyncio.Task[Study | None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin_soon(self) -> None:
        """Begin once the request is on its way."""
        self._timer = asyncio.get_running_loop().call_later(_DELAY_SECONDS, self._begin)

    def forgo(self) -> None:
        """Do not begin the study if it has not begun: the request is over."""
        if self._timer:
            self._timer.cancel()

    def _begin(self) -> asyncio.Task[Study | None]:
        if self._task is None:
            late = asyncio.get_running_loop().time() - self._timer.when() if self._timer else 0.0
            self._task = asyncio.create_task(self._shared.studies.study(self._plan, late))
        return self._task

    async def result(self) -> Study | None:
        """Wait for the end of the study, beginning it if necessary; None if it is put off."""
        return await self._begin()

    @property
    def is_done(self) -> bool:
        """Whether the study has ended, and did not fail."""
        task = self._task
        return task is not None and task.done() and not task.cancelled() and task.exception() is None

    @property
    def near(self) -> Near | None:
        """The nearest stored request, if the study has ended and found one."""
        study = self._task.result() if self._task and self.is_done else None
        return study.near if study else None
