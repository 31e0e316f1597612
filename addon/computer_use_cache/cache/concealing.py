"""Keeps credentials in texts out of the store, by putting `<secret n>` in their place.

A conversation grows by a few texts a turn, so the search remembers the texts it has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from computer_use_cache.cache.plan import Plan
from computer_use_cache.credentials import detection, places
from computer_use_cache.formats.base import dump, load_object
from computer_use_cache.models import Shape
from computer_use_cache.rebinding import Cause, Refusal, conceal_answer
from computer_use_cache.screens.picture import LONG, picture_of
from computer_use_cache.store.memory import BoundedMemory

type Spans = tuple[tuple[int, int, str], ...]
"""Start, end and kind of each."""

_OF_A_TOOL = "a tool's"

_MOST_TEXTS = 32_768


class Finder:
    """Finds credentials by their form or label, and those of a request's tools wherever they are repeated."""

    def __init__(self) -> None:
        self._known = BoundedMemory[bytes, Spans](_MOST_TEXTS)

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
        name = _name(text)
        spans = self._known.get(name)
        if spans is None:
            spans = tuple((secret.start, secret.end, secret.kind) for secret in detection.find_in_text(text))
            self._known.put(name, spans)
        return spans


def _name(text: str) -> bytes:
    """A digest of a text. A long one that was met before, such as a screenshot, need not be hashed again."""
    if len(text) < LONG:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    picture = picture_of(text)
    return f"{picture.before}{picture.digest}".encode()


def concealed_answer(plan: Plan, shape: Shape, body: bytes) -> bytes | Refusal:
    """An answer of this shape, fit to be stored: the same bytes if it holds no credential. Refused if it holds one that
    is not in the request, because the next caller could not be given their own in its place."""
    format = plan.format
    answer = (
        load_object(body) if shape is Shape.JSON else () if shape is Shape.RAW else format.split_stream(body, shape)
    )
    if plan.secrets:
        found = conceal_answer(format, answer, plan.secrets, with_usage=plan.with_usage)
        if isinstance(found, Refusal):
            return found
        if found.answer is not answer:
            answer = found.answer
            body = dump(answer) if isinstance(answer, dict) else b"".join(format.join_stream(answer, shape))
    if any(places.repeated(plan.credentials, format.searchable(body, shape).decode("utf-8", "replace"))):
        return Refusal(Cause.OTHER_FORM)
    if format.answers_in_text and answer:
        whole = answer if isinstance(answer, dict) else format.assemble(answer)
        if any(detection.find_in_body(whole)):
            return Refusal(Cause.NEW_CREDENTIAL)
    return body


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
