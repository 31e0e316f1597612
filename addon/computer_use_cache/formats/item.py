"""One thing in a conversation: a text, a thought, a tool call, a result, a picture. The same for every API."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from computer_use_cache.formats import actions, walking
from computer_use_cache.formats.actions import Action
from computer_use_cache.formats.media import Media

_LONGEST_VALUE = 300
"""How much an item keeps of a long text without spaces, such as a picture in an unknown place."""


class Kind(StrEnum):
    """What an item is. MEDIA is a picture, sound or file, VALUE something to embed or an embedding."""

    TEXT = "text"
    THINKING = "thinking"
    REFUSAL = "refusal"
    CALL = "tool call"
    RESULT = "tool result"
    MEDIA = "media"
    VALUE = "value"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a conversation. Two items are equal if they say the same, wherever they stand.

    `role` is the speaker, or the field of the instructions; "" where nobody speaks. `turn` is the index of the message,
    None outside a list of messages. `text` is what is said: the arguments of a call, a description of media, the JSON
    of an unknown part. `call_id` names the call, or the one that a result or a picture in a result answers. `name` is
    the tool's and `arguments` are what it was called with, parsed where they are JSON.
    """

    role: str
    kind: Kind
    text: str = ""
    name: str = ""
    media: Media | None = None
    is_error: bool = False
    turn: int | None = field(default=None, compare=False)
    call_id: str = field(default="", compare=False)
    arguments: Any = field(default=None, compare=False)

    @property
    def actions(self) -> tuple[Action, ...]:
        """What a call does on a screen. browser-use has models write JSON text with a list of actions instead."""
        match self.kind, self.text:
            case Kind.CALL, _:
                return actions.of_call(self.name, self.arguments)
            case Kind.TEXT, text if text.startswith("{") and isinstance(value := parse_json(text), dict):
                return actions.of_call("", {"actions": value.get("action")})
        return ()


def parse_json(text: str) -> Any:
    """The value of a text that is JSON, else the text."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def as_json_text(value: object, indent: int | None = None) -> str:
    """A value as JSON. Long strings that are not prose are cut short."""
    short = walking.map_texts(value, lambda text: text if " " in text[:1000] else _cut(text))
    return json.dumps(short, ensure_ascii=False, indent=indent)


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= _LONGEST_VALUE
        else f"{text[:_LONGEST_VALUE]}… {len(text) - _LONGEST_VALUE:,} more characters"
    )
