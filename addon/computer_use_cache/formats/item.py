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
"""Characters of a text without blanks, such as a picture in an unknown place, that stay in an item."""


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

    `role` is the speaker, or the field of the instructions; "" where nobody speaks. `turn` is the index of
    the message, None outside a list of messages. `text` is what is said; of a call its arguments, of media a
    description, of an unknown part its JSON. `call_id` names the call, or the one that a result or a picture in a
    result answers. `name` is the tool's and `arguments` are what it was called with, parsed where they are JSON.
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
        """What a call does on a screen, or a JSON text with a list of actions, as browser-use has models write it."""
        match self.kind, self.text:
            case Kind.CALL, _:
                return actions.of_call(self.name, self.arguments)
            case Kind.TEXT, text if text.startswith("{") and isinstance(value := parsed(text), dict):
                return actions.of_call("", {"actions": value.get("action")})
        return ()


def parsed(text: str) -> Any:
    """The value of a text that is JSON, else the text."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def written(value: object, indent: int | None = None) -> str:
    """A value as JSON, with its long texts that are no prose cut short."""
    short = walking.map_texts(value, lambda text: text if " " in text[:1000] else _cut(text))
    return json.dumps(short, ensure_ascii=False, indent=indent)


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= _LONGEST_VALUE
        else f"{text[:_LONGEST_VALUE]}… {len(text) - _LONGEST_VALUE:,} more characters"
    )
