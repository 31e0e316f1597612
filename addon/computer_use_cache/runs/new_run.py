"""The run of a command, before it has made a call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate

from computer_use_cache.credentials import detection
from computer_use_cache.credentials.redaction import HIDDEN, redacted
from computer_use_cache.run_models import Run, new_id


def new_run(command: Sequence[str], now: float, *, bindings: str = "", parent: str = "") -> Run:
    """A run of this command in the current folder, which begins at `now` (Unix seconds). Its command line is kept
    without credentials."""
    words = _without_credentials(command)
    folder = redacted(os.getcwd())
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
    it, and may be several words."""
    words = list(command)
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))
    for found in reversed(detection.find_in_text(" ".join(words))):
        for at, word in enumerate(words):
            start, end = max(found.start - starts[at], 0), min(found.end - starts[at], len(word))
            if start < end:
                words[at] = word[:start] + HIDDEN + word[end:]
    return tuple(words)
