"""The last look at a rebound answer: nothing in it may come from the recorded run.

What is looked at is the answer without what was replaced. Right or refused: what could be meant for either run is
refused, which costs a miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from computer_use_cache.rebinding.bindings import CONSTANT
from computer_use_cache.rebinding.kinds import CLOCK, DATE, MONTH, TIME, WEEKDAY, compiled
from computer_use_cache.rebinding.literals import stands_alone
from computer_use_cache.rebinding.moves import Moves, weekday_and_month
from computer_use_cache.rebinding.refusal import Cause, Refusal

_TELLING = 6
"""A part of a path or an id that is shorter may be any word."""


def judge(moves: Moves, rests: Sequence[bytes], present: bytes) -> Refusal | None:
    """The reason to refuse an answer. `rests` are its texts in order, each replaced value a NUL; `present` is all text
    of the present request."""
    together = b"".join(rests).lower()  # a value may be cut in two by the border of two texts
    for kind, part in _traces(moves, present):
        if part.lower() in together:
            return Refusal(Cause.TRACE, kind)
    if moves.times and not _is_explained(moves, b"\0\0".join(rests), present):
        return Refusal(Cause.COMPUTED, "time")
    return None


def _traces(moves: Moves, present: bytes) -> Iterator[tuple[str, bytes]]:
    """The recorded values that moved, and their telling parts."""
    for value, now in moves.pairs:
        text = value.text.encode("utf-8", "surrogatepass")
        if len(text) >= _TELLING:
            yield value.kind, text
        if value.kind in CONSTANT or not moves.kinds.named(value.kind).numbered:
            continue
        for part in re.split(r"[^A-Za-z0-9]+", value.text):
            if len(part) >= _TELLING and part not in now and _is_telling(part, present):
                yield value.kind, part.encode()


def _is_telling(part: str, present: bytes) -> bool:
    """Whether a part is random, or at least no word of the present request."""
    return bool(re.search(r"\d", part)) or part.encode() not in present


def _is_explained(moves: Moves, text: bytes, present: bytes) -> bool:
    """Whether each time, date, month and weekday is one that the present request names, and not the recorded one's."""
    stale = _stale_names(moves)
    pieces = [piece for old, new in moves.times for piece in _pieces(old) if piece not in _pieces(new)]
    for found in _times().finditer(text):
        said: bytes = found[1]
        if not stands_alone(text, *found.span(1)):
            continue
        if said in pieces or (said[:3].decode("latin-1") in stale and said.isalpha()):
            return False
        if said not in present:
            return False
    return True


def _stale_names(moves: Moves) -> set[str]:
    """The first three letters of the weekdays and months of recorded dates, but for those of present dates."""
    old, new = (
        {name[:3] for text in texts for name in weekday_and_month(text)} for texts in zip(*moves.times, strict=True)
    )
    return old - new


def _pieces(text: str) -> list[bytes]:
    """A time's clock, with and without seconds, and its date."""
    found = [piece[0] for piece in re.finditer(rf"{DATE}|\d{{1,2}}:\d{{2}}:\d{{2}}|\d{{1,2}}:\d{{2}}", text)]
    return [piece.encode() for piece in (*found, *(piece[:5] for piece in found if piece.count(":") == 2), text)]


@cache
def _times() -> Any:
    return compiled(
        rf"(?:\b|\\[nrt])({TIME}|{DATE}|{CLOCK}|{MONTH}\b|{WEEKDAY}\b|(?:1[5-9]|2[01])\d{{8}}(?:\d{{3}})?\b)"
    )
