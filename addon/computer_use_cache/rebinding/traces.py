"""The last look at a rebound answer: nothing in it may come from the recorded run.

It searches the answer without the replaced values. An answer that might belong to either run is refused, which costs a
miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from computer_use_cache.rebinding.bindings import CONSTANT, NAMES
from computer_use_cache.rebinding.dates import sayings
from computer_use_cache.rebinding.kinds import CLOCK, DATE, DAY, MONTH, TIME, UNIT, WEEKDAY, compiled
from computer_use_cache.rebinding.literals import Literals, stands_alone
from computer_use_cache.rebinding.moves import Moves
from computer_use_cache.rebinding.refusal import Cause, Refusal

_SHORTEST = 3
_TELLING = 6
"""A shorter part of a path or an id could be any word."""


def judge(moves: Moves, rests: Sequence[bytes], present: bytes) -> Refusal | None:
    """The reason to refuse an answer. `rests` are its texts in order, each replaced value a NUL; `present` is all text
    of the present request."""
    together = b"".join(rests).lower()  # a value may be cut in two by the border of two texts
    for kind, part in _traces(moves, present):
        if part.lower() in together:
            return Refusal(Cause.TRACE, kind)
    if name := _named(moves, rests, present):
        return Refusal(Cause.TRACE, name)
    if _has_duration(moves, rests):
        return Refusal(Cause.AMBIGUOUS, "duration")
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


def _named(moves: Moves, rests: Sequence[bytes], present: bytes) -> str | None:
    """The kind of a name from the recorded run (of its user, host or folder) that is in an answer and not in the
    present request. The name of a folder counts only if it is not a plain word."""
    for value, _ in moves.pairs:
        name = re.split(r"[/\\]", value.text.rstrip("/\\"))[-1] if value.kind == "cwd" else value.text
        is_name = value.kind in NAMES or (value.kind == "cwd" and not name.islower())
        literals = Literals([name.encode("utf-8", "surrogatepass")] if is_name and len(name) >= _SHORTEST else ())
        if any(any(literals.find(rest)) for rest in rests) and not any(literals.find(present)):
            return value.kind
    return None


def _has_duration(moves: Moves, rests: Sequence[bytes]) -> bool:
    """Whether a recorded duration that moved is in an answer with a unit but not behind its label: it may be the
    amount that somebody asked for."""
    durations = {value.text.encode() for value, _ in moves.pairs if value.kind == "duration"}
    return bool(durations) and any(found[1] in durations for rest in rests for found in _amounts().finditer(rest))


def _is_telling(part: str, present: bytes) -> bool:
    """Whether a part is random, or at least does not occur in the present request."""
    return bool(re.search(r"\d", part)) or part.encode() not in present


def _is_explained(moves: Moves, text: bytes, present: bytes) -> bool:
    """Whether each time, date, month and weekday is one that the present request names, and not the recorded one's."""
    old, new = zip(*moves.times, strict=True)
    stale = _said(old) - _said(new)
    for found in _times().finditer(text):
        is_named = found.start(1) >= 0
        start, end = found.span(1 if is_named else 2)
        said = text[start:end]
        if stands_alone(text, start, end) and (said in stale or (is_named and said not in present)):
            return False
    return True


def _said(times: Sequence[str]) -> set[bytes]:
    return {saying.encode() for text in times for saying in sayings(text)}


@cache
def _amounts() -> Any:
    return compiled(rf"(?i)(\d+(?:\.\d+)?)[ -]?{UNIT}\b")


@cache
def _times() -> Any:
    """What names a moment (group 1), and what may or may not (group 2)."""
    return compiled(
        rf"(?:\b|\\[nrt])(?:({TIME}|{DATE}|{MONTH}\.?\s+{DAY}\b|{DAY}(?: of)?\s+{MONTH}\b|{CLOCK}|{MONTH}\b|{WEEKDAY}\b"
        r"|(?:1[5-9]|2[01])\d{8}(?:\d{3})?\b|(?i:tomorrow|yesterday|tonight)\b|Q[1-4]\b|(?i:week) \d{1,2}\b"
        r"|\d+ (?:minute|hour|day|week|month|year)s? (?:ago|from now|left|old)\b)"
        r"|(\d{1,2}[/.-]\d{1,2}\b|\d{1,2}(?:st|nd|rd|th)\b|\d{8}\b|\d{4}\b))"
    )
