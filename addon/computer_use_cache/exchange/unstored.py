"""Answers that are still being stored although their clients have them. A request that one may answer waits for it."""

from __future__ import annotations

import asyncio

from computer_use_cache.cache.plan import Plan


class Unstored:
    """The tasks that store these answers, by the keys and templates under which the answers can be found later."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, plan: Plan, task: asyncio.Task[None]) -> None:
        """Remember the task that stores the answer to a request, until it is done."""
        for name in _names(plan):
            self._tasks[name] = task
        task.add_done_callback(lambda _: self._forget(plan, task))

    def _forget(self, plan: Plan, task: asyncio.Task[None]) -> None:
        for name in _names(plan):
            if self._tasks.get(name) is task:
                del self._tasks[name]

    def copy(self) -> Unstored:
        """The tasks that are running now."""
        copied = Unstored()
        copied._tasks = self._tasks.copy()
        return copied

    async def awaited(self, plan: Plan) -> bool:
        """Wait until the answers that may fit a request are stored. Returns whether there were any."""
        tasks = {self._tasks[name] for name in _names(plan) if name in self._tasks}
        if tasks:
            await asyncio.wait(tasks)
        return bool(tasks)


def _names(plan: Plan) -> tuple[str, ...]:
    return (plan.key, plan.template.digest) if plan.template else (plan.key,)
