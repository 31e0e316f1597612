"""Finds the run that a person means: `last`, `last~1` for the one before, an id, or its unique beginning."""

from __future__ import annotations

import re

from computer_use_cache.errors import CacheError
from computer_use_cache.run_models import Run
from computer_use_cache.store.base import KEPT_RUNS, RunLog
from computer_use_cache.units import counted

LAST = "last"


class UnknownRun(CacheError):
    """A name means no run, or more than one."""


def find(log: RunLog, name: str) -> Run:
    """The run that `name` means. Blocks; raises UnknownRun and StoreError."""
    if back := re.fullmatch(rf"{LAST}(?:~([0-9]{{1,4}}))?", name):
        number = int(back[1] or 0)
        found = log.runs(number + 1)
        if len(found) <= number:
            raise UnknownRun(
                f"only {counted(len(found), 'run is', 'runs are')} recorded" if found else "no run is recorded yet"
            )
        return found[number]
    if name and name.isascii() and (run := log.run(name)):
        return run
    found = [run for run in log.runs(KEPT_RUNS) if name and run.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownRun(f"{name!r} is ambiguous ({', '.join(run.id for run in found[:4])}): give more of the id")
    raise UnknownRun(f"there is no run {name!r}; see `computer-use-cache runs`")
