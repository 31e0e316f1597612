"""The run of a command, before it has made a call."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from computer_use_cache.credentials import detection
from computer_use_cache.diagnosis.differences import HIDDEN
from computer_use_cache.run_models import Run
from computer_use_cache.runs.assignment import new_id
from computer_use_cache.runs.cleaning import without_credentials


def new_run(command: Sequence[str], now: float, *, bindings: str = "", parent: str = "") -> Run:
    """A run of this command in the present folder, which begins at `now` (Unix seconds). Its command line is kept
    without credentials."""
    words = _without_credentials(command)
    folder = without_credentials(os.getcwd())
    return Run(
        id=new_id(now),
        name=" ".join(words),
        began=now,
        ended=now,
        command=words,
        folder=folder,
        parent=parent,
        bindings=bindings,
    )


def _without_credentials(command: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line with each credential replaced. A credential may be recognised by the word before
    it."""
    words = list(command)
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))
    for found in reversed(detection.find_in_text(" ".join(words))):
        at = bisect_right(starts, found.start) - 1
        start, end = found.start - starts[at], min(found.end - starts[at], len(words[at]))
        words[at] = words[at][:start] + HIDDEN + words[at][end:]
    return tuple(words)
