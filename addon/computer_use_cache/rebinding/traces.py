"""The last look at a rebound answer: nothing in it may come from the recorded run.

It searches the answer without the replaced values. An answer that might belong to either run is refused, which costs a
miss.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from computer_use_cache.rebinding.bindings import CONSTANT, NAMES
from computer_use_cache.rebinding.dates import figures, sayings
from computer_use_cache.rebinding.kinds import CLOCK, DATE, DAY, MONTH, TIME, UNIT, WEEKDAY, compiled
from computer_use_cache.rebinding.literals import Literals, stands_alone
from computer_use_cache.rebinding.moves import RANDOM, Moves
from computer_use_cache.rebinding.refusal import Cause, Refusal

_SHORTEST = 3
_TELLING = 6
"""A shorter part of a path or an id could be any word."""
_SHORTEST_NUMBER = 4
_HEAD, _TAIL = slice(_TELLING), slice(-_TELLING, None)
_MEMBER = re.compile(
    rb"""(?i:(year|month|day|hour|minute))(?:\\*["']?\s?[:=]\s?\\*["']?|\0\0)(\d{1,4})(?=[\\"'\s,;)}\]\0]|$)"""
)
"""A number by the name of its unit, in JSON or in code, or in arguments that are an object: its texts are apart."""


def judge(moves: Moves, rests: Sequence[bytes], present: bytes) -> Refusal | None:
    """The reason to refuse an answer. `rests` are its texts in order, each replaced value a NUL; `present` is all text
    of the present request."""
    together = b"".join(rests).lower()  # a value may be cut in two by the border of two texts
    for kind, part in _traces(moves, present):
        if part.lower() in together:
            return Refusal(Cause.TRACE, kind)
    apart = b"\0\0".join(rests)
    if name := _shortened(moves, apart) or _attached(moves, apart) or _named(moves, rests, present):
        return Refusal(Cause.TRACE, name)
    if _has_duration(moves, rests):
        return Refusal(Cause.AMBIGUOUS, "duration")
    if moves.times and (not _is_explained(moves, apart, present) or _has_old_figures(moves, apart, present)):
        return Refusal(Cause.COMPUTED, "time")
    return None


def _traces(moves: Moves, present: bytes) -> Iterator[tuple[str, bytes]]:
    """The recorded values that moved, and their telling parts."""
    for value, _ in moves.pairs:
        text = value.text.encode("utf-8", "surrogatepass")
        if len(text) >= _TELLING:
            yield value.kind, text
    for kind, part, now in _moved_parts(moves):
        if part not in now and _is_telling(part, present):
            yield kind, part.encode()


def _shortened(moves: Moves, text: bytes) -> str | None:
    """The kind of a moved id whose first or last characters begin or end a word of the answer: `docker ps` and people
    shorten ids."""
    words = [word.decode() for word in re.findall(rb"(?:\\[nrt])?([A-Za-z0-9]{%d,})" % _TELLING, text)]
    ends = {at: {form[at] for word in words for form in (word, word.lower())} for at in (_HEAD, _TAIL)}
    for kind, part, now in _moved_parts(moves):
        for at, found in ends.items():
            end = part[at]
            form = end.lower() if re.search(r"\d", end) else end  # without a figure, capitals tell it from a word
            if form in found and RANDOM.search(end) and end.lower() not in (p[at].lower() for p in _parts(now)):
                return kind
    return None


def _attached(moves: Moves, text: bytes) -> str | None:
    """The kind of a moved number that an answer attaches to letters, like the port in `-P34567`. Wherever it stands by
    itself, it was replaced."""
    numbers = set(re.findall(rb"\d{%d,}" % _SHORTEST_NUMBER, text))
    for value, _ in moves.pairs:
        kind = moves.kinds.named(value.kind)
        if kind.labelled and not kind.placed and value.text.encode("utf-8", "surrogatepass") in numbers:
            return value.kind
    return None


def _moved_parts(moves: Moves) -> Iterator[tuple[str, str, str]]:
    """The parts of the ids and paths that moved: kind, part, and the whole present value."""
    for value, now in moves.pairs:
        if value.kind not in CONSTANT and moves.kinds.named(value.kind).numbered:
            yield from ((value.kind, part, now) for part in _parts(value.text))


def _parts(text: str) -> list[str]:
    """The parts of a path or an id that are long enough to be recognised."""
    return [part for part in re.split(r"[^A-Za-z0-9]+", text) if len(part) >= _TELLING]


def _named(moves: Moves, rests: Sequence[bytes], present: bytes) -> str | None:
    """The kind of a name from the recorded run (of its user, host or folder) that is in an answer and not in the
    present request. The name of a folder does not count if it is a plain word."""
    for value, _ in moves.pairs:
        name = re.split(r"[/\\]", value.text.rstrip("/\\"))[-1] if value.kind == "cwd" else value.text
        is_name = value.kind in NAMES or (value.kind == "cwd" and not re.fullmatch("[a-z]+", name))
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
    stale = {saying.encode() for saying in _stale(moves, sayings)}
    for found in _times().finditer(text):
        is_named = found.start(1) >= 0
        start, end = found.span(1 if is_named else 2)
        said = text[start:end]
        if stands_alone(text, start, end) and (said in stale or (is_named and said not in present)):
            return False
    return True


def _has_old_figures(moves: Moves, text: bytes, present: bytes) -> bool:
    """Whether a member like `"day": 26` holds a figure of the recorded time, or one that the present request does not
    explain."""
    found = {(unit.decode().lower(), int(number)) for unit, number in _MEMBER.findall(text)}
    if not found:
        return False
    stale = _stale(moves, figures)
    moved = {unit for unit, _ in stale}
    numbers = {int(number) for number in re.findall(rb"(?<!\d)\d{1,4}(?!\d)", present)}
    return any(one in stale or (one[0] in moved and one[1] not in numbers) for one in found)


def _stale[T](moves: Moves, express: Callable[..., frozenset[T]]) -> set[T]:
    """What expresses a recorded time and no present one."""
    old, new = zip(*moves.times, strict=True)
    stale: set[T] = set()
    for is_day_first in (True, False):
        recorded, present = (
            {one for text in texts for one in express(text, day_first=is_day_first)} for texts in (old, new)
        )
        stale |= recorded - present
    return stale


@cache
def _amounts() -> Any:
    return compiled(rf"(?i)(\d+(?:\.\d+)?)[ -]?{UNIT}\b")


@cache
def _times() -> Any:
    """What names a moment (group 1), and what may or may not (group 2)."""
    return compiled(
        rf"(?:\b|\\[nrt])(?:({TIME}|{DATE}|{MONTH}\.?\s+{DAY}\b|{DAY}(?: of)?\s+{MONTH}\b|{CLOCK}|{MONTH}\b|{WEEKDAY}\b"
        r"|(?:1[5-9]|2[01])\d{8}(?:\d{3})?\b|(?i:tomorrow|yesterday|tonight)\b|Q[1-4]\b|(?i:week) \d{1,2}\b"
        r"|(?:19|20)\d{2}, ?\d{1,2}, ?\d{1,2}\b|\d+ (?:minute|hour)s? (?:ago|from now|left|old)\b"
        r"|(?i:\d+|two|three|four|five|six|seven|eight|nine|ten) (?:day|week|month|year)s?\b)"
        r"|(\d{1,2}[/.-]\d{1,2}\b|\d{1,2}(?:st|nd|rd|th)\b|\d{8}\b|\d{4}\b))"
    )
