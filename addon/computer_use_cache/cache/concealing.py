"""Keeps credentials in texts out of the store, by putting `<secret n>` in their place.

A conversation grows by a few texts a turn, so the search remembers the texts it has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from computer_use_cache.cache.plan import Plan
from computer_use_cache.credentials import detection, places
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import dump
from computer_use_cache.memory import BoundedMemory
from computer_use_cache.models import Shape
from computer_use_cache.rebinding import Cause, Refusal, conceal_answer
from computer_use_cache.screens.picture import LONG, picture_of

type Spans = tuple[tuple[int, int, str], ...]
"""Start, end and kind of each."""

_OF_A_TOOL = "a tool's"

_MOST_TEXTS = 32_768
_SHORT = 128
"""Texts up to this length are remembered themselves: that takes less time than a digest, and little memory."""


class Finder:
    """Finds credentials by their form or label, and those of a request's tools wherever they are repeated."""

    def __init__(self) -> None:
        self._known = BoundedMemory[bytes | str, Spans](_MOST_TEXTS)

    def searching_for(self, credentials: Sequence[str]) -> Callable[[str], Spans]:
        """A search that finds these credentials too. Slow for a text that is new: call it off the event loop."""
        if not credentials:
            return self._detected
        return lambda text: _united(
            (*self._detected(text), *((start, end, _OF_A_TOOL) for start, end in places.repeated(credentials, text)))
        )

    def _detected(self, text: str) -> Spans:
        if len(text) < detection.SHORTEST:
            return ()
        name = text if len(text) <= _SHORT else _digest(text)
        spans = self._known.get(name)
        if spans is None:
            spans = tuple((secret.start, secret.end, secret.kind) for secret in detection.find_in_text(text))
            self._known.put(name, spans)
        return spans


def _digest(text: str) -> bytes:
    """A digest of a text. A long one that was met before, such as a screenshot, need not be hashed again."""
    if len(text) < LONG:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    picture = picture_of(text)
    return f"{picture.before}{picture.digest}".encode()


def concealed_answer(plan: Plan, answer: Answer) -> Answer | Refusal:
    """An answer fit to be stored: the same one if it holds no credential. Refused if it holds one that is not in the
    request, because the next caller could not be given their own in its place. Raises FormatError."""
    format, shape = plan.format, answer.shape
    if plan.secrets:
        given = answer.whole if shape is Shape.JSON else answer.events
        found = conceal_answer(format, given, plan.secrets, with_usage=plan.with_usage)
        if isinstance(found, Refusal):
            return found
        if found.answer is not given:
            is_json = isinstance(found.answer, dict)
            body = dump(found.answer) if is_json else b"".join(format.join_stream(found.answer, shape))
            answer = Answer(format, shape, body)
    if plan.credentials and any(places.repeated(plan.credentials, answer.searchable.decode("utf-8", "replace"))):
        return Refusal(Cause.OTHER_FORM)
    if format.answers_in_text and shape is not Shape.RAW and any(detection.find_in_body(answer.whole)):
        return Refusal(Cause.NEW_CREDENTIAL)
    return answer


def _united(spans: Iterable[tuple[int, int, str]]) -> Spans:
    """The spans in order. Overlapping spans become one, of the kind of the first."""
    united: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(spans):
        if united and start < united[-1][1]:
            first, last, first_kind = united[-1]
            united[-1] = (first, max(end, last), first_kind)
        else:
            united.append((start, end, kind))
    return tuple(united)
