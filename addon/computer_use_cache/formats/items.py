"""A conversation as a list of items, the same for every API: texts, thinking, tool calls, their results, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from computer_use_cache.formats import parts
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.formats.item import Item, Kind
from computer_use_cache.units import counted

_BESIDE_TEXT = (*parts.THINKING, "tool_calls")
"""Members of an answer that accompany its text, if that is not a message."""


def of_request(format: Format, body: Json) -> list[Item]:
    """The instructions and the conversation of a request."""
    body = format.opened_request(body)
    found = [
        item for name in format.instructions if name in body for item in _with_role(name, parts.of_content(body[name]))
    ]
    match body.get(format.conversation):
        case [int(), *tokens]:
            found.append(Item("", Kind.VALUE, counted(len(tokens) + 1, "token", "tokens"), turn=0))
        case [str(), *_] | [[int(), *_], *_] as inputs:
            found += (replace(_input(each), turn=index) for index, each in enumerate(inputs))
        case list(messages):
            found += (item for index, message in enumerate(messages) for item in _of_turn(index, message))
        case None:
            pass
        case prompt:
            found += _with_role("user", parts.of_content(prompt))
    return found + list(
        _with_role("user", parts.of_message({name: body[name] for name in format.last_message if name in body}))
    )


def of_answer(format: Format, answer: Json) -> list[Item]:
    """What the model said, in all choices."""
    answer = format.opened_answer(answer)
    match answer.get(format.answered):
        case list(items) if "role" in answer:
            return list(_with_role(str(answer["role"]), parts.of_content(items)))
        case list(items) if not format.answers_in_text:
            return [replace(_value(item), turn=index) for index, item in enumerate(items)]
        case list(items):
            return [item for index, each in enumerate(items) for item in _of_turn(index, each)]
        case {"message": dict(message)}:
            return list(_with_role(str(message.get("role")), parts.of_message(message)))
        case dict() as message if "role" in message:
            return list(_with_role(str(message["role"]), parts.of_message(message)))
        case str(text):
            others = {name: answer[name] for name in _BESIDE_TEXT if name in answer}
            return list(_with_role("assistant", parts.of_message(others | {"content": text})))
        case None:
            return []
        case value:
            return list(_with_role("", parts.of_content(value)))


def _with_role(role: str, items: Iterable[Item], turn: int | None = None) -> Iterator[Item]:
    return (replace(item, role=role, turn=turn) for item in items)


def _of_turn(index: int, turn: Any) -> Iterator[Item]:
    """A message, an item of the Responses API, a choice or a candidate."""
    match turn:
        case {"message": dict(message)}:
            return _with_role(str(message.get("role", "assistant")), parts.of_message(message), index)
        case {"content": {"parts": content, **rest}}:
            return _with_role(str(rest.get("role", "model")), parts.of_content(content), index)
        case {"text": str(text), "finish_reason": _}:
            return _with_role("completion", parts.of_part(text), index)
        case {"role": str(role)}:
            return _with_role(role, parts.of_message(turn), index)
        case {"parts": content}:
            return _with_role("user", parts.of_content(content), index)
        case {"type": str(kind)}:
            return _with_role("tool" if kind.endswith("_output") else "assistant", parts.of_part(turn), index)
    return _with_role("", parts.of_part(turn), index)


def _input(value: object) -> Item:
    """A text or a list of tokens to embed."""
    if isinstance(value, list):
        return Item("", Kind.VALUE, counted(len(value), "token", "tokens"))
    return Item("", Kind.VALUE, str(value))


def _value(value: object) -> Item:
    """An embedding, a picture that was drawn, or another value that is no text."""
    match value:
        case {"embedding": list(numbers)}:
            return Item(
                "", Kind.VALUE, f"{counted(len(numbers), 'number', 'numbers')}: {', '.join(map(str, numbers[:4]))}, …"
            )
        case {"embedding": str(data)}:
            return Item("", Kind.VALUE, f"{len(data) * 3 // 16:,} numbers as base64")
    return parts.other(value)
