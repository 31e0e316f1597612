"""The steps of a run with what was asked and answered, and what is new in each since the step before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile

from computer_use_cache import formats
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import items
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Format, Json, load_object
from computer_use_cache.formats.item import Item
from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.run_models import Call
from computer_use_cache.store.base import Store

_COMPARED = 16
"""How many earlier steps a step may be the continuation of: an agent may hold several conversations at once."""


@dataclass(frozen=True, slots=True)
class Delta:
    """How a request differs from that of the step before, in the request's order: items that were added, changed (old
    and new) and cut. The answer of the step before does not count as added."""

    added: tuple[Item, ...] = ()
    changed: tuple[tuple[Item, Item], ...] = ()
    cut: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `number` counts from 1. `record` and `entry` are None, and `asked` and `answer` empty, if the store
    does not have them: a failed or bypassed call is not stored. `body` is the recorded request's.

    The record of a rebound hit is that of the run that recorded it. `before` is the number of the step that this one is
    compared with, 0 for a conversation that begins here.
    """

    number: int
    call: Call
    format: Format
    record: RequestRecord | None
    entry: Entry | None
    body: Json
    asked: tuple[Item, ...]
    answer: tuple[Item, ...]
    before: int
    delta: Delta


def load(store: Store, calls: Sequence[Call]) -> Iterator[Step]:
    """The steps of a run with these calls, one at a time: pictures stay in the store. Blocks; raises StoreError."""
    earlier: deque[Step] = deque(maxlen=_COMPARED)
    for number, call in enumerate(calls, 1):
        step = _step(store, number, call, earlier)
        if step.asked:
            earlier.append(step)
        yield step


def _step(store: Store, number: int, call: Call, earlier: Sequence[Step]) -> Step:
    format = formats.by_name(call.format)
    record = store.request(call.key) if call.key else None
    body = object_of(record.body) if record else {}
    asked = tuple(items.of_request(format, body))
    before = max(reversed(earlier), key=lambda step: _shared(step.asked, asked), default=None)
    if before and not _shared(before.asked, asked):
        before = None
    entry = store.get(call.key) if call.key else None
    return Step(
        number=number,
        call=call,
        format=format,
        record=record,
        entry=entry,
        body=body,
        asked=asked,
        answer=tuple(items_of(Answer(format, entry.shape, entry.body))) if entry else (),
        before=before.number if before else 0,
        delta=_delta(before, asked),
    )


def items_of(answer: Answer) -> list[Item]:
    """What the model said; empty if the answer cannot be read, or is not JSON."""
    try:
        return items.of_answer(answer.format, answer.whole)
    except FormatError:
        return []


def object_of(body: bytes) -> Json:
    """A recorded body, empty if it is damaged or no JSON object."""
    try:
        return load_object(body)
    except FormatError:
        return {}


def _shared(one: Sequence[Item], other: Sequence[Item]) -> int:
    """How many items two conversations have in common at their beginnings."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _delta(before: Step | None, asked: Sequence[Item]) -> Delta:
    if before is None:
        return Delta(added=tuple(asked))
    old, added, changed, cut = before.asked, list[Item](), list[tuple[Item, Item]](), list[Item]()
    first = _shared(old, asked)
    matcher = SequenceMatcher(None, old[first:], asked[first:], autojunk=False)
    for _, *places in (code for code in matcher.get_opcodes() if code[0] != "equal"):
        start, end, new_start, new_end = (place + first for place in places)
        both = min(end - start, new_end - new_start)
        changed += zip(old[start : start + both], asked[new_start : new_start + both], strict=True)
        cut += old[start + both : end]
        added += asked[new_start + both : new_end]
    said = {(item.kind, item.name, item.text) for item in before.answer}
    return Delta(
        tuple(item for item in added if (item.kind, item.name, item.text) not in said), tuple(changed), tuple(cut)
    )
