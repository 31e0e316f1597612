"""Where two runs part, and how: the requests, the pictures in them, and the answers."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest

from computer_use_cache.diagnosis import pictures
from computer_use_cache.diagnosis.differences import Difference, differences, value_at, without_credentials
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys import canonical_json
from computer_use_cache.models import RequestRecord
from computer_use_cache.rebinding import Bindings, template_of
from computer_use_cache.runs.steps import Step
from computer_use_cache.screens.approval import Approval, Comparison, Find, Same
from computer_use_cache.screens.suggest import Pair

_MOST = 100
"""How many differences of two bodies are looked at."""


@dataclass(frozen=True, slots=True)
class Differences:
    """How two things differ. Of each difference, `recorded` is the left side and `asked` is the right one. `pairs` are
    the digests of the pictures that differ, left and right, by their paths, and `compared` is how they do."""

    found: tuple[Difference, ...] = ()
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    compared: Mapping[str, Comparison] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.found)


@dataclass(frozen=True, slots=True)
class Parting:
    """The step at which two runs part. `left` and `right` are the steps with that number, None where a run has ended.
    `asked` is how their requests differ, and `answered` how their answers do."""

    number: int
    left: Step | None
    right: Step | None
    asked: Differences = Differences()
    answered: Differences = Differences()


def parting(left: Iterable[Step], right: Iterable[Step], screens: Approval, find: Find) -> Parting | None:
    """Where two runs part; None if they are the same. Values that move from run to run, such as the time, do not part
    them. Slow: it compares the pixels of pictures that differ."""
    for number, (one, other) in enumerate(zip_longest(left, right), 1):
        if one is None or other is None:
            return Parting(number, one, other)
        asked = of_steps(one, other, screens, find)
        answered = _of_answers(one, other)
        if asked or answered:
            return Parting(number, one, other, asked, answered)
    return None


def of_steps(left: Step, right: Step, screens: Approval, find: Find) -> Differences:
    """How the requests of two steps differ, apart from values that move."""
    if left.call.key and left.call.key == right.call.key:
        return Differences()
    if left.record is None or right.record is None:
        return _of_calls(left, right)
    every = of_records(left.record, right.record, screens, find)
    bodies = [canonical_json.parse_body(step.record.body) for step in (left, right) if step.record]
    return replace(
        every, found=tuple(one for one in every.found if one.picture or not _moves(left.format, bodies, one))
    )


def _moves(format: Format, bodies: Sequence[Json], difference: Difference) -> bool:
    """Whether two texts differ in nothing but values that move, such as the time and the ids of calls."""
    one, other = (value_at(body, difference.path) for body in bodies)
    if not (isinstance(one, str) and isinstance(other, str)):
        return False
    place = difference.path.removeprefix("/").split("/")
    ids = any(fnmatch.fnmatchcase("/".join(place), each) for each in format.call_id_places)
    return ids or _template(format, one) == _template(format, other)


def _template(format: Format, text: str) -> Json:
    return template_of(format, {"text": text}, Bindings({})).body


def of_records(left: RequestRecord, right: RequestRecord, screens: Approval, find: Find) -> Differences:
    """How two recorded requests differ, with their pictures compared by what they show."""
    try:
        one, other = (canonical_json.parse_body(record.body) for record in (left, right))
    except FormatError:
        return Differences()
    pairs = pictures.differing(other, one)
    compared = pictures.compared(screens, pairs, find)
    same = {path for path, comparison in compared.items() if isinstance(comparison, Same)}
    outside = (_outside(name, left, right) for name in ("upstream", "path", "query"))
    found = [
        pictures.described(each, compared[each.path], pairs[each.path], find) if each.path in pairs else each
        for each in differences(other, one)
        if each.path not in same
    ]
    shown = [without_credentials(each, one) for each in found[:_MOST]]
    return Differences(
        tuple([*filter(None, outside), *shown][:_MOST]),
        {path: pair for path, pair in pairs.items() if path not in same},
        {path: comparison for path, comparison in compared.items() if path not in same},
    )


def _outside(name: str, left: RequestRecord, right: RequestRecord) -> Difference | None:
    return next(differences(getattr(right, name), getattr(left, name), name), None)


def _of_calls(left: Step, right: Step) -> Differences:
    """How two calls differ whose requests are not both stored."""
    if left.call.asked == right.call.asked:
        return Differences()
    one, other = ({"format": step.call.format, "model": step.call.model} for step in (left, right))
    found = tuple(differences(other, one))
    return Differences(found or (Difference("request", None, right.call.asked[:8], left.call.asked[:8]),))


def _of_answers(left: Step, right: Step) -> Differences:
    return Differences(tuple(islice(differences(_plain(right), _plain(left), "answer"), _MOST)))


def _plain(step: Step) -> list[Json]:
    """A step's answer as JSON whose members are what a person would compare."""
    if not step.answer:
        return [{"status": step.call.status}]
    return [
        {"kind": str(item.kind)}
        | ({"tool": item.name, "arguments": item.arguments} if item.name else {"text": item.text})
        for item in step.answer
    ]
