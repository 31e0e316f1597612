"""Shows a model request or an answer as text: who said what, tools folded, pictures by type and size.

Nothing is refused, and the text is bounded however long the conversation is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import assert_never

from computer_use_cache.formats import items
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.formats.item import Item, Kind, as_json_text
from computer_use_cache.units import counted

_LONGEST_TEXT = 20_000
_LONGEST_TRANSCRIPT = 500_000
_LONGEST_VALUE = 300
_LONGEST_HELP = 100
_MOST_VALUES = 100


def of_request(format: Format, body: Json) -> str:
    """A request as text: its settings, one line for each tool, and its turns, numbered from 0."""
    body = format.opened_request(body)
    hidden = {format.conversation, *format.instructions, *format.last_message, "tools", "toolConfig"}
    lines = [f"{name}: {_short(value)}" for name, value in body.items() if name not in hidden]
    match body:
        case {"tools": tools} | {"toolConfig": {"tools": tools}}:
            lines += _tools(tools)
    lines += _turns(items.of_request(format, body), {})
    return _cut("\n".join(lines), _LONGEST_TRANSCRIPT)


def of_answer(format: Format, answer: Json) -> str:
    """An answer's usage, its message, and its other fields."""
    answer = format.opened_answer(answer)
    usage = format.usage_places[0]
    lines = [f"{usage}: {_usage(answer[usage])}"] if answer.get(usage) else []
    lines += _turns(items.of_answer(format, answer), _endings(answer.get(format.answered)))
    hidden = {format.answered, usage}
    others = [f"{name}: {_short(value)}" for name, value in answer.items() if name not in hidden and value is not None]
    return _cut("\n".join([*lines, _head("other fields"), *others]), _LONGEST_TRANSCRIPT)


def _endings(choices: object) -> dict[int, str]:
    """Why each choice or candidate ended."""
    found = {}
    for index, choice in enumerate(choices if isinstance(choices, list) else ()):
        match choice:
            case {"finish_reason": str(reason)} | {"finishReason": str(reason)}:
                found[index] = reason
    return found


# -- turns


def _turns(said: list[Item], endings: Mapping[int, str]) -> Iterator[str]:
    values = [item for item in said if item.kind is Kind.VALUE]
    if values:
        yield from _values(values)
    turns = groupby((item for item in said if item.kind is not Kind.VALUE), key=lambda item: (item.turn, item.role))
    for (turn, role), spoken in turns:
        number = "" if turn is None else f"[{turn}] "
        ending = f" · {endings[turn]}" if turn in endings else ""
        yield _head(f"{number}{role}{ending}")
        for call_id, parts in groupby(spoken, key=_answered_call):
            yield from _spoken(call_id, parts)


def _values(values: list[Item]) -> Iterator[str]:
    """Texts to embed, embeddings and the like, in a line each."""
    yield ""
    yield from (f"[{item.turn}] {_short(item.text)}" for item in values[:_MOST_VALUES])
    if len(values) > _MOST_VALUES:
        yield f"… {len(values) - _MOST_VALUES} more"


def _head(speaker: str) -> str:
    return f"\n── {speaker} {'─' * max(60 - len(speaker), 3)}"


def _answered_call(item: Item) -> str | None:
    """The call that an item answers, None if it answers none."""
    return item.call_id if item.kind is Kind.RESULT or (item.kind is Kind.MEDIA and item.call_id) else None


def _spoken(call_id: str | None, parts: Iterable[Item]) -> Iterator[str]:
    """Consecutive items that answer the same call, or no call."""
    if call_id is None:
        yield from map(_shown, parts)
        return
    first, *others = parts
    yield f"← {call_id}{' (error)' if first.is_error else ''}"
    yield from (_indented(part.text) for part in (first, *others))


def _shown(item: Item) -> str:
    match item.kind:
        case Kind.TEXT | Kind.RESULT | Kind.MEDIA:
            return _cut(item.text, _LONGEST_TEXT)
        case Kind.THINKING:
            return _cut(f"[reasoning] {item.text}", _LONGEST_TEXT)
        case Kind.REFUSAL:
            return f"[refusal] {item.text}"
        case Kind.CALL:
            return f"→ {item.name}{f'  {item.call_id}' if item.call_id else ''}\n{_indented(item.text)}"
        case Kind.OTHER | Kind.VALUE:
            return _short(item.text)
        case _:
            assert_never(item.kind)


# -- everything else


def _tools(tools: object) -> list[str]:
    """A line for each tool: its name, its parameters, the beginning of its description."""
    found: list[object] = []
    for tool in tools if isinstance(tools, list) else ():
        match tool:
            case {"functionDeclarations": list(declared)} | {"function_declarations": list(declared)}:
                found += declared
            case {"function": function} | {"toolSpec": function}:
                found.append(function)
            case _:
                found.append(tool)
    return ["", f"── {counted(len(found), 'tool', 'tools')}", *map(_tool, found)] if found else []


def _tool(tool: object) -> str:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return _short(tool)
    names: list[str] = []
    for where in ("parameters", "input_schema", "parametersJsonSchema", "inputSchema"):
        match tool.get(where):
            case {"properties": dict(properties)} | {"json": {"properties": dict(properties)}}:
                names += properties
    help = " ".join(str(tool.get("description") or tool.get("type") or "").split())
    return f"{tool['name']}({_cut(', '.join(names), _LONGEST_VALUE)})  {_cut(help, _LONGEST_HELP)}"


def _usage(usage: object) -> str:
    match usage:
        case dict():
            shown = ((name, _usage(value)) for name, value in usage.items() if value is not None)
            return ", ".join(
                f"{name} ({text})" if "," in text or " " in text else f"{name} {text}" for name, text in shown
            )
        case _:
            return _short(usage)


def _short(value: object) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else as_json_text(value)
    return _cut(" ".join(text.split()), _LONGEST_VALUE)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in _cut(text, _LONGEST_TEXT).split("\n"))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… {len(text) - limit:,} more characters"
