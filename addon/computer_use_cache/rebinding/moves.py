"""What moved between a recorded and the present request: approved value by value, or refused.

The templates are equal, so the values stand at the same places; what is compared here is the values themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from computer_use_cache.rebinding import order
from computer_use_cache.rebinding.bindings import CONSTANT, FOLDERS, Bindings
from computer_use_cache.rebinding.kinds import Kinds, have_one_form
from computer_use_cache.rebinding.literals import Literals
from computer_use_cache.rebinding.refusal import Cause, Refusal
from computer_use_cache.rebinding.template import Value, echo_of

TIMES = ("time", "date")
_IDENTITIES = ("pid", "port")
"""Kinds that are not numbered, but whether two of their values are equal is part of the question."""
_MOST_CHARACTERS = 1_000_000
"""The limit for all recorded values together, because they are searched for in an answer at once."""
SPECIAL = re.compile(r'["\\\x00-\x1f]')
"""Characters that JSON escapes."""
_FILE_TYPE = re.compile(r"\.(?:[a-z]{1,8}|[a-z][a-z0-9]{0,4})$")
RANDOM = re.compile(r"\d|[a-z][A-Z]|[A-Z][a-z]+[A-Z]")
"""What no chosen word holds: figures, or capitals in the middle."""
_SHORTEST_RANDOM = 6
"""Two generated names of at least this length, both equally long, may happen to hold small letters only."""


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of a recorded value: the present text, or the reason to refuse an answer that holds it."""

    kind: str
    present: bytes | None
    cause: Cause = Cause.AMBIGUOUS


@dataclass(frozen=True)
class Moves:
    """Everything that moved. `recorded` are the recorded run's bindings; `texts` the other values, and `forms` those of
    bindings; `labelled` are values that count only behind their label, by kind."""

    kinds: Kinds
    recorded: Bindings = field(default_factory=Bindings)
    forms: Mapping[tuple[str, str], Move] = field(default_factory=dict)
    texts: Mapping[bytes, Move] = field(default_factory=dict)
    labelled: Mapping[tuple[str, bytes], Move] = field(default_factory=dict)
    pairs: tuple[tuple[Value, str], ...] = ()
    """Each recorded value that moved, with the present one."""
    inside_words: bool = False
    """Whether long `texts` are replaced inside longer words, too."""

    def __bool__(self) -> bool:
        return bool(self.pairs or self.forms)

    @cached_property
    def literals(self) -> Literals:
        return Literals(self.texts, inside_words=self.inside_words)

    @cached_property
    def times(self) -> tuple[tuple[str, str], ...]:
        """The times and dates that moved, each with the present one."""
        return tuple((value.text, present) for value, present in self.pairs if value.kind in TIMES)


def approve(recorded: Iterable[Sequence[str]], present: Iterable[Sequence[str]], kinds: Kinds) -> Moves | Refusal:
    """What moved between the values of two requests with the same template."""
    old_bindings, old = _parted(recorded)
    new_bindings, new = _parted(present)
    if [value.kind for value in old] != [value.kind for value in new]:
        return Refusal(Cause.VALUES)
    becomes: dict[str, dict[str, str]] = {}
    for one, other in zip(old, new, strict=True):
        becomes.setdefault(one.text, {})[other.text] = one.kind
        if one.text != other.text and (cause := _difference(one, other)):
            return Refusal(cause, one.kind)
    if sum(map(len, becomes)) > _MOST_CHARACTERS:
        return Refusal(Cause.TOO_MANY)
    if refusal := _one_to_one(old, new, kinds):
        return refusal
    if not order.is_kept((one.text, other.text) for one, other in zip(old, new, strict=True) if one.kind in TIMES):
        return Refusal(Cause.ORDER)
    return _moves(kinds, old_bindings, new_bindings, becomes)


def _parted(values: Iterable[Sequence[str]]) -> tuple[Bindings, list[Value]]:
    """Bindings, which come first, and the other values."""
    every = [Value(*value) for value in values]
    count = next((at for at, value in enumerate(every) if value.kind not in CONSTANT), len(every))
    return Bindings({value.kind: value.text for value in every[:count]}), every[count:]


def _difference(one: Value, other: Value) -> Cause | None:
    """Why two values of one kind cannot stand for each other."""
    if one.kind in TIMES and not have_one_form(one.text, other.text):
        return Cause.FORM
    if one.kind == "id" and _prefix(one.text) != _prefix(other.text):
        return Cause.FORM
    if one.kind == "hex" and len(one.text) != len(other.text):
        return Cause.FORM
    if one.kind == "tmp" and not _are_made_up(one.text, other.text):
        return Cause.NAMES
    return None


def _prefix(text: str) -> str:
    """The prefix that says what an id belongs to: `call_`, `req-`."""
    found = re.match(r"[a-z]+[_-]", text)
    return found[0] if found else ""


def _are_made_up(one: str, other: str) -> bool:
    """Whether two paths differ only in generated names and not in words or types of files that someone chose."""
    names = [re.split(r"[/\\]", path)[-1] for path in (one, other)]
    if names[0] == names[1]:
        return True
    if _FILE_TYPE.findall(names[0]) != _FILE_TYPE.findall(names[1]):
        return False
    if all(RANDOM.search(rest) for rest in _unshared(names) if rest):
        return True
    words = _unshared([re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9]", name) for name in names])
    return names[0][:3] == names[1][:3] and len(words[0]) == len(words[1]) >= _SHORTEST_RANDOM


def _unshared(names: Sequence[Sequence[str]]) -> list[str]:
    """What two names do not share at their beginning and their end."""
    for _ in range(2):
        shared = next((at for at, (a, b) in enumerate(zip(*names, strict=False)) if a != b), min(map(len, names)))
        names = [name[shared:][::-1] for name in names]
    return ["".join(name) for name in names]


def _one_to_one(old: Sequence[Value], new: Sequence[Value], kinds: Kinds) -> Refusal | None:
    """Refuses two equal values that become different ones, or the reverse, whether or not capitals count."""
    numbered = {(one.text, other.text) for one, other in zip(old, new, strict=True) if kinds.named(one.kind).numbered}
    without_capitals = {(one.casefold(), other.casefold()) for one, other in numbered}
    identities = {(one, other) for one, other in zip(old, new, strict=True) if one.kind in _IDENTITIES}
    for pairs in (numbered, without_capitals, identities):
        if len({one for one, _ in pairs}) < len(pairs) or len({other for _, other in pairs}) < len(pairs):
            return Refusal(Cause.NOT_ONE_TO_ONE)
    return None


def _moves(kinds: Kinds, old: Bindings, new: Bindings, becomes: Mapping[str, Mapping[str, str]]) -> Moves:
    texts: dict[bytes, Move] = {}
    labelled: dict[tuple[str, bytes], Move] = {}
    pairs: list[tuple[Value, str]] = []
    for text, targets in becomes.items():
        if targets.keys() == {text}:
            continue
        for present, kind in targets.items():
            if present != text:
                pairs.append((Value(kind, text), present))
        present, kind = next(iter(targets.items()))
        only = present if len(targets) == 1 else None
        for a, move in _forms_of(kinds, kind, text, only):
            if kinds.named(kind).is_telling(text) or kind in TIMES:
                texts[a] = move
                continue
            labelled[kind, a] = move
            if kinds.named(kind).labelled:
                texts[a] = Move(kind, None)
    for name, text in old.values.items():
        if name in new.values and new.values[name] != text:
            pairs.append((Value(name, text), new.values[name]))
    return Moves(kinds, old, _moved_forms(old, new), texts, labelled, pairs=tuple(pairs))


def _forms_of(kinds: Kinds, kind: str, old: str, new: str | None) -> Iterator[tuple[bytes, Move]]:
    """The texts by which a value may appear in an answer, and what becomes of each."""
    for a, b in escapes(old, new):
        yield a.encode("utf-8", "surrogatepass"), _move(kind, a, b)
    if kind == "tmp" and (name := echo_of(kind, old.encode("utf-8", "surrogatepass"), kinds)):
        other = None if new is None else re.split(r"[/\\]", new)[-1].encode("utf-8", "surrogatepass")
        yield name[1], Move(kind, other)


def _move(kind: str, old: str, new: str | None) -> Move:
    if new is not None and SPECIAL.search(new) and not SPECIAL.search(old):
        return Move(kind, None, Cause.ESCAPES)  # at the recorded text's place, it is unclear how to escape it
    return Move(kind, None if new is None else new.encode("utf-8", "surrogatepass"))


def escapes(old: str, new: str | None) -> Iterator[tuple[str, str | None]]:
    """A value and its replacement as they are, in JSON, and in JSON inside JSON."""
    yield old, new
    if not old.isascii():
        yield json.dumps(old)[1:-1], new and json.dumps(new)[1:-1]
    if SPECIAL.search(old):
        for _ in range(2):
            old = json.dumps(old, ensure_ascii=False)[1:-1]
            new = new and json.dumps(new, ensure_ascii=False)[1:-1]
            yield old, new


def _moved_forms(old: Bindings, new: Bindings) -> dict[tuple[str, str], Move]:
    """What becomes of each form of a binding. A path that is two bindings, like a folder that is the home, is ambiguous
    if they moved apart."""
    moved = {}
    for (name, form), text in old.forms.items():
        names = {name, *(other for other in FOLDERS if old.forms.get((other, form)) == text)}
        targets = {new.forms.get((other, form)) for other in names}
        if targets != {text}:
            moved[name, form] = _move(name, text, targets.pop() if len(targets) == 1 else None)
    return moved
