"""A request's template: the request without the values that move, and those values in order.

Two requests have the same template when they differ in nothing but such values. When in doubt, a template errs towards
a miss: what is not clearly a value stays in it.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from computer_use_cache.formats.base import Format, Json
from computer_use_cache.formats.walking import tree_of
from computer_use_cache.keys.key import remove_pointers
from computer_use_cache.rebinding import limits
from computer_use_cache.rebinding.bindings import CONSTANT, Bindings
from computer_use_cache.rebinding.kinds import CALL, LIMIT, Kinds
from computer_use_cache.rebinding.literals import Literals
from computer_use_cache.rebinding.profiles import NONE, Profile
from computer_use_cache.screens.blanking import blanked

_VERSION = 2
"""Enters every template: raise it when a kind or a form changes, and no older template is found."""
_MARK = b"\0"
_NUMBER = "\0number\0"
"""Begins the text that stands for a number: no text of a request begins so, as its NULs are doubled."""
_SHORTEST = 4
"""Shorter texts cannot be values."""
_LONG_DATA = re.compile(r"(?:data:[^,]{0,200},)?[A-Za-z0-9+/_=-]{512}")
_MOST_ECHOES = 1000
_SPEAKING_ID = re.compile(rb"[a-z]{2,12}[_-]")
"""The beginning of an id that is recognisable without its label."""


class Value(NamedTuple):
    """One value: plain data that is stored with an entry."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """`body` is hashed as a request's body is. `values` are what was taken out: first the bindings, then the values in
    the order of the request; those of numbered kinds occur once. `pictures` are the digests of the pictures that were
    taken out, in order, for screens/approval.py. `text` is all text of the request; it must not be stored."""

    body: Json
    values: tuple[Value, ...]
    text: bytes
    pictures: tuple[str, ...] = ()


class _Span(NamedTuple):
    start: int
    end: int
    kind: str
    form: str | None = None
    """For a binding, the form in which it occurs."""


def template_of(format: Format, body: Json, bindings: Bindings, profile: Profile = NONE) -> Template:
    """The template of a request; `body` is the part that enters the key (`Format.key_body`), and is left alone."""
    texts = _Texts(format)
    without_pictures, pictures = blanked(format, remove_pointers(body, profile.leave_out))
    copy = texts.copied(without_pictures)
    blob = _MARK.join(texts.pieces)
    spans = _spans(blob, texts.call_spans(), bindings, profile.kinds)
    values = [Value(name, text) for name, text in bindings.values.items() if name in CONSTANT]
    texts.fill(_replaced(blob, spans, profile.kinds, values))
    values += [Value(LIMIT.name, limit) for limit in limits.take_out(copy)]
    whole = {"version": _VERSION, "profile": f"{profile.name} {profile.version}", "request": copy}
    return Template(whole, tuple(values), blob, pictures)


class _Texts:
    """The texts of a request in a fixed order, each with its place in the copy of the request."""

    def __init__(self, format: Format) -> None:
        self.pieces: list[bytes] = []
        self._owners: list[tuple[Any, Any]] = []
        self._calls: list[int] = []
        self._numbers: set[int] = set()
        self._has_mark = False
        self._format = format
        self._exact = format.exact_members
        self._reference_types = format.reference_types
        self._argument_objects = format.argument_objects

    def copied(self, body: Json) -> Json:
        copy: Json = self._copied(body, tree_of(self._format.call_id_places))
        return copy

    def _copied(self, value: Any, tree: Json | None, *, is_argument: bool = False) -> Any:
        """A copy of `value`, which `fill` changes later. Members that the format names exact are left unchanged, but
        everything in a tool's arguments is the model's."""
        if isinstance(value, dict):
            if value.get("type") in self._reference_types:
                return value
            copy = {}
            for name in sorted(value):
                member = value[name]
                below = tree.get(name) if tree else None
                if isinstance(member, str):
                    copy[name] = member
                    if is_argument or name not in self._exact:
                        self._add(copy, name, member, below == {})
                elif isinstance(member, (dict, list)):
                    begins = name in self._argument_objects
                    copy[name] = self._copied(member, below, is_argument=is_argument or begins)
                else:
                    copy[name] = member
                    if is_argument and type(member) is int:
                        self._add_number(copy, name, {name: member})
            return copy
        below = tree.get("*") if tree else None
        items = list(value)
        for index, item in enumerate(items):
            if isinstance(item, str):
                self._add(items, index, item, below == {})
            elif isinstance(item, (dict, list)):
                items[index] = self._copied(item, below, is_argument=is_argument)
            elif is_argument and type(item) is int:
                self._add_number(items, index, item)
        return items

    def _add(self, owner: Any, place: Any, text: str, is_call: bool) -> None:
        if len(text) < _SHORTEST or (len(text) > 512 and _LONG_DATA.match(text)):
            return
        if is_call:
            self._calls.append(len(self.pieces))
        self._has_mark |= "\0" in text
        self.pieces.append(text.encode("utf-8", "surrogatepass"))
        self._owners.append((owner, place))

    def _add_number(self, owner: Any, place: Any, value: Any) -> None:
        """Add a number of a tool's arguments, with the name that may say what it is."""
        text = json.dumps(value)
        if len(text) >= _SHORTEST:
            self._numbers.add(len(self.pieces))
            self.pieces.append(text.encode())
            self._owners.append((owner, place))

    def call_spans(self) -> list[_Span]:
        """The spans of call ids in the joined texts."""
        starts = self._starts
        return [_Span(starts[at], starts[at] + len(self.pieces[at]), CALL.name) for at in self._calls]

    @cached_property
    def _starts(self) -> list[int]:
        """Where each text begins when they are joined."""
        return list(accumulate((len(piece) + 1 for piece in self.pieces), initial=0))

    def fill(self, changes: Iterator[tuple[_Span, bytes]]) -> None:
        """Put the changed texts into the copy. `changes` must be in order."""
        starts = self._starts
        changed: dict[int, list[tuple[_Span, bytes]]] = {
            at: [] for at in range(len(self.pieces)) if self._has_mark and _MARK in self.pieces[at]
        }
        for span, mark in changes:
            changed.setdefault(bisect_right(starts, span.start) - 1, []).append((span, mark))
        for at, marks in changed.items():
            owner, place = self._owners[at]
            marked = _marked(self.pieces[at], starts[at], marks)
            owner[place] = _NUMBER + marked if at in self._numbers else marked


def _marked(piece: bytes, start: int, marks: Sequence[tuple[_Span, bytes]]) -> str:
    """A text with marks in place of its values. A NUL in the text is doubled, so that it cannot be taken for a mark."""
    parts, at = [], 0
    for span, mark in marks:
        parts += [piece[at : span.start - start].replace(_MARK, _MARK * 2), _MARK, mark, _MARK]
        at = span.end - start
    parts.append(piece[at:].replace(_MARK, _MARK * 2))
    return b"".join(parts).decode("utf-8", "surrogatepass")


def _spans(blob: bytes, calls: Sequence[_Span], bindings: Bindings, kinds: Kinds) -> list[_Span]:
    """All values in order, without overlaps. Bindings win over calls and calls over kinds, then the longer over the
    shorter."""
    bound = [_Span(*found) for found in bindings.find(blob)]
    known = _apart(bound, calls, _recognised(blob, kinds))
    return _apart(known, list(_echoes(blob, known, kinds)))


def _recognised(blob: bytes, kinds: Kinds) -> list[_Span]:
    """What the kinds recognise, except what is repeated as content: a checksum and what it is compared with."""
    scanned = list(kinds.scan(blob))
    contents = {blob[start:end].lower() for start, end, kind in scanned if kind.is_value is None}
    return [
        _Span(start, end, kind.name)
        for start, end, kind in scanned
        if kind.is_value and blob[start:end].lower() not in contents
    ]


def _apart(*groups: Sequence[_Span]) -> list[_Span]:
    """The spans of the first group and those of later groups that overlap none of an earlier one, in order."""
    ranked = ((span.start, -span.end, rank, span) for rank, group in enumerate(groups) for span in group)
    kept: list[tuple[int, _Span]] = []
    for _, _, rank, span in sorted(ranked, key=lambda item: item[:3]):
        while kept and span.start < kept[-1][1].end and rank < kept[-1][0]:
            kept.pop()
        if not kept or span.start >= kept[-1][1].end:
            kept.append((rank, span))
    return [span for _, span in kept]


def _echoes(blob: bytes, spans: Sequence[_Span], kinds: Kinds) -> Iterator[_Span]:
    """Where values that were recognised by place or label are repeated without it, and random folder names without a
    path."""
    echoes: dict[bytes, str] = {}
    for span in spans:
        text = blob[span.start : span.end]
        if span.form is None and (name := echo_of(span.kind, text, kinds)):
            echoes[name[1]] = name[0]
    if not echoes or len(echoes) > _MOST_ECHOES:
        return
    others = bytearray(blob)
    for span in spans:
        others[span.start : span.end] = _MARK * (span.end - span.start)
    for start, end in Literals(echoes).find(bytes(others)):
        yield _Span(start, end, echoes[blob[start:end]])


def echo_of(kind: str, text: bytes, kinds: Kinds) -> tuple[str, bytes] | None:
    """The kind and text of this value where it is repeated without its label or path; None if it is not
    recognisable."""
    if kind == "tmp":
        name = re.split(rb"[/\\]", text)[-1]
        is_telling = len(name) >= 6 and re.search(rb"\d|[a-z][A-Z]|[A-Z][a-z]+[A-Z]", name)
        return ("tmp name", name) if is_telling else None
    if kinds.named(kind).labelled and kinds.named(kind).is_telling(text.decode("utf-8", "replace")):
        return kind, text
    return (kind, text) if kind == "id" and not _SPEAKING_ID.match(text) else None


def _replaced(blob: bytes, spans: Sequence[_Span], kinds: Kinds, values: list[Value]) -> Iterator[tuple[_Span, bytes]]:
    """Each span with its mark. Adds the values to `values`."""
    numbers: dict[str, int] = {}
    for span in spans:
        if span.form is not None:
            yield span, f"{span.kind} {span.form}".encode()
            continue
        text = blob[span.start : span.end].decode("utf-8", "surrogatepass")
        if not kinds.named(span.kind).numbered:
            values.append(Value(span.kind, text))
            yield span, span.kind.encode()
            continue
        if text not in numbers:
            numbers[text] = len(numbers) + 1
            values.append(Value(span.kind, text))
        yield span, f"{span.kind} {numbers[text]}".encode()
