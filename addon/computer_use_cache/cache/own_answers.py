"""Rebound answers that a later request may name by an id.

The Responses API keeps every answer together with the conversation that led to it, and a request may name the answer
instead of repeating that. The id of a recorded answer stands for the recorded run's conversation. So a rebound answer
gets an id of its own, and what a request names by it, or by the id of an item in it, is sent upstream in full.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Format, Json, dump, load_object
from computer_use_cache.memory import BoundedMemory

_MOST_BYTES = 64 * 1024 * 1024
_MOST_ITEMS = 10_000
_REFERENCE = b'"item_reference"'


@dataclass(frozen=True, slots=True)
class _Turn:
    """A request as it would have been forwarded, and the items of its rebound answer."""

    request: bytes
    output: list[Any]

    def continued(self, format: Format, request: Json) -> Json:
        """A request that names the answer, with the conversation in place of its id."""
        earlier = load_object(self.request)
        whole = {name: value for name, value in request.items() if name != format.chain}
        if format.chain in earlier:
            whole[format.chain] = earlier[format.chain]
        messages = [*format.messages_of(earlier), *self.output, *format.messages_of(request)]
        return whole | {format.conversation: messages}

    def item(self, name: str, format: Format, before: list[Any]) -> Json | None:
        """The item of that id, if the answer belongs to the conversation that begins with `before`."""
        asked = format.messages_of(load_object(self.request))
        if before[: len(asked)] != asked:
            return None
        return next((item for item in self.output if item.get("id") == name), None)


class OwnAnswers:
    """What one proxy needs to know about the rebound answers that it gave. They are forgotten when it stops."""

    def __init__(self) -> None:
        self._begin = f"resp_{secrets.token_hex(8)}"
        self._turns = BoundedMemory[str, _Turn](_MOST_BYTES, lambda turn: len(turn.request))
        self._turns_with = BoundedMemory[str, tuple[str, ...]](_MOST_ITEMS)
        self._given = 0

    def __bool__(self) -> bool:
        return self._given > 0

    def given(self, plan: Plan, pieces: list[bytes]) -> list[bytes]:
        """The rebound answer to a request, with an id of its own. Raises FormatError if it has none."""
        answer = Answer(plan.format, plan.shape, b"".join(pieces)).whole
        recorded = answer.get("id")
        if not isinstance(recorded, str) or not recorded:
            raise FormatError("the answer has no id")
        own = f"{self._begin}{secrets.token_hex(16)}"
        output = [item for item in answer.get(plan.format.answered) or [] if isinstance(item, dict)]
        self._turns.put(own, _Turn(plan.forward, output))
        for item in output:
            if isinstance(name := item.get("id"), str):
                self._turns_with.put(name, (*(self._turns_with.get(name) or ()), own))
        self._given += 1
        old, new = dump(recorded), dump(own)
        if not any(old in piece for piece in pieces):
            raise FormatError("the answer's id is written in another way")
        return [piece.replace(old, new) for piece in pieces]

    def in_full(self, format: Format, body: bytes) -> bytes:
        """The request, with the conversation instead of the id if it names one of these answers."""
        if self._begin.encode() not in body:
            return body
        try:
            request = load_object(body)
        except FormatError:
            return body
        named = request.get(format.chain)
        turn = self._turns.get(named) if isinstance(named, str) else None
        return dump(turn.continued(format, request)) if turn else body

    def with_items(self, format: Format, body: bytes) -> bytes:
        """The request, with the items of these answers instead of references to them."""
        if _REFERENCE not in body:
            return body
        try:
            request = load_object(body)
        except FormatError:
            return body
        messages: list[Any] = []
        for message in format.messages_of(request):
            messages.append(self._item(message, format, messages) or message)
        return body if messages == format.messages_of(request) else dump(request | {format.conversation: messages})

    def _item(self, message: Any, format: Format, before: list[Any]) -> Json | None:
        match message:
            case {"type": "item_reference", "id": str(name)}:
                turns = map(self._turns.get, self._turns_with.get(name) or ())
                return next((item for turn in turns if turn and (item := turn.item(name, format, before))), None)
        return None
