"""Putting the present values into a recorded answer, in every shape: texts, arguments of tools, streams.

A stream that holds no moved value is served byte for byte. Any other is assembled, rebound and taken apart again, so
that it does not matter where its deltas cut a value.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.models import Event
from computer_use_cache.rebinding import traces
from computer_use_cache.rebinding.moves import Move, Moves
from computer_use_cache.rebinding.refusal import Cause, Refusal


@dataclass(frozen=True, slots=True)
class Rebound:
    """An answer for the present request: the recorded one itself if nothing in it moved. `counts` says how often each
    kind was replaced."""

    answer: Any
    counts: Mapping[str, int] = field(default_factory=dict)


def rebind(
    format: Format, answer: Json | Sequence[Event], moves: Moves, present: bytes, *, with_usage: bool = True
) -> Rebound | Refusal:
    """The recorded answer, a JSON object or the events of a stream, with the present values.

    `present` is all text of the present request (`Template.text`); `with_usage` is as in `Format.explode`.
    """
    return rewritten(
        format, answer, moves, judge=lambda rests: traces.judge(moves, rests, present), with_usage=with_usage
    )


def rewritten(
    format: Format,
    answer: Json | Sequence[Event],
    moves: Moves,
    *,
    judge: Callable[[Sequence[bytes]], Refusal | None] = lambda _: None,
    with_usage: bool,
) -> Rebound | Refusal:
    """An answer with every moved value replaced. `judge` gets its texts without those values."""
    if not moves:
        return Rebound(answer)
    if not format.answers_in_text:
        return Refusal(Cause.NOT_TEXT)
    try:
        whole = answer if isinstance(answer, dict) else format.assemble(answer)
        writer = _Writer(format, moves)
        written = writer.member("", whole)
        if refusal := judge(writer.rests):
            return refusal
        if not writer.counts:
            return Rebound(answer)
        if writer.has_positions:
            return Refusal(Cause.POSITIONS)
        if isinstance(answer, dict):
            return Rebound(written, writer.counts)
        return Rebound(format.explode(written, with_usage=with_usage), writer.counts)
    except _RefusedError as error:
        return error.refusal
    except FormatError as error:
        return Refusal(Cause.MALFORMED, str(error))


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class _Writer:
    """Writes an answer with the present values. `rests` are its texts without the replaced values, for the guard."""

    def __init__(self, format: Format, moves: Moves) -> None:
        self._format = format
        self._moves = moves
        self.counts: Counter[str] = Counter()
        self.rests: list[bytes] = []
        self.has_positions = False

    def member(self, name: str, value: Any, *, is_argument: bool = False) -> Any:
        """The value of the member `name`. Everything in a tool's arguments is text of the model."""
        if is_argument and (element := self._element(name, value)) is not None:
            return element
        if isinstance(value, str):
            return value if name in self._format.written_members and not is_argument else self._text(value)
        if isinstance(value, dict):
            return self._object(value, is_argument=is_argument)
        if isinstance(value, list):
            return [self.member(name, item, is_argument=is_argument) for item in value]
        return self._number(value) if is_argument and type(value) in (int, float) else value

    def _object(self, value: Json, *, is_argument: bool) -> Json:
        signed = () if is_argument else self._format.signed_members(value)
        written = {}
        for name, member in value.items():
            key = self._text(name) if is_argument else name
            self.has_positions |= name in self._format.position_members and bool(member) and not is_argument
            if name in signed:
                self._check_signed(name, member)
                written[key] = member
                continue
            begins = name in self._format.argument_objects and isinstance(member, (dict, list))
            written[key] = self.member(name, member, is_argument=is_argument or begins)
        return written

    def _check_signed(self, name: str, value: Any) -> None:
        before = self.counts.total()
        self.member(name, value)
        if self.counts.total() > before:
            raise _RefusedError(Refusal(Cause.SIGNED))

    def _element(self, name: str, value: Any) -> Any:
        """The present value of a member of a tool's arguments that says by its name what it is, like an element of a
        page or a duration; None if it says nothing that moved."""
        if not self._moves.labelled or type(value) not in (str, int):
            return None
        member = json.dumps({name: value}).encode()
        for start, end, kind in self._moves.kinds.find(member):
            move = self._moves.labelled.get((kind.name, member[start:end]))
            is_named = kind.placed or type(value) is int
            if is_named and move and move.present and member[start:end] == str(value).encode():
                self.counts[move.kind] += 1
                self.rests.append(b"\0")
                now = move.present.decode()
                return now if isinstance(value, str) else float(now) if "." in now else int(now)
        return None

    def _text(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        parts: list[bytes] = []
        rest: list[bytes] = []
        at = 0
        for start, end, move in self._found(data):
            if move.present is None:
                raise _RefusedError(Refusal(move.cause, move.kind))
            self.counts[move.kind] += 1
            parts += [data[at:start], move.present]
            rest += [data[at:start], b"\0"]
            at = end
        self.rests.append(b"".join((*rest, data[at:])))
        return b"".join((*parts, data[at:])).decode("utf-8", "surrogatepass") if at else text

    def _found(self, text: bytes) -> Iterator[tuple[int, int, Move]]:
        """Where recorded values that moved occur, in order and without overlaps; the longest wins."""
        found: list[tuple[int, int, Move]] = []
        if self._moves.forms:
            for start, end, name, form in self._moves.recorded.find(text):
                if form is not None and (move := self._moves.forms.get((name, form))):
                    found.append((start, end, move))
        if self._moves.labelled:
            for start, end, kind in self._moves.kinds.find(text):
                if move := self._moves.labelled.get((kind.name, text[start:end])):
                    found.append((start, end, move))
        found += [(start, end, self._moves.texts[text[start:end]]) for start, end in self._moves.literals.find(text)]
        last = 0
        for start, end, move in sorted(found, key=lambda item: (item[0], -item[1])):
            if start >= last:
                yield start, end, move
                last = end

    def _number(self, value: float) -> Any:
        text = json.dumps(value).encode()
        move = self._moves.texts.get(text)
        if move is None:
            self.rests.append(text)
            return value
        if move.present is None:
            raise _RefusedError(Refusal(move.cause, move.kind))
        self.counts[move.kind] += 1
        return json.loads(move.present)
