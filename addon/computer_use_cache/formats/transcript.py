"""Shows a model request or an answer as text: who said what, tools folded, pictures by type and size.

Clients and providers may send anything. Parts of an unknown form are shown as short JSON, nothing is refused, and the
text is bounded however long the conversation is.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from computer_use_cache.formats import media, walking
from computer_use_cache.formats.base import Format, Json

_LONGEST_TEXT = 20_000
_LONGEST_TRANSCRIPT = 500_000
_LONGEST_VALUE = 300
_LONGEST_HELP = 100
_MOST_INPUTS = 100


def of_request(format: Format, body: Json) -> str:
    """The conversation of a request: its settings, its tools in a line each, its turns numbered from 0."""
    body = format.opened_request(body)
    hidden = {format.conversation, *format.instructions, "tools", "toolConfig"}
    lines = [f"{name}: {_short(value)}" for name, value in body.items() if name not in hidden]
    match body:
        case {"tools": tools} | {"toolConfig": {"tools": tools}}:
            lines += _tools(tools)
    for name in format.instructions:
        if name in body:
            lines += _turn(name, _parts(body[name]))
    if format.conversation in body:
        lines += _spoken(body[format.conversation])
    return _cut("\n".join(lines), _LONGEST_TRANSCRIPT)


def of_answer(format: Format, answer: Json) -> str:
    """An answer's usage, its message, and its other fields."""
    answer = format.opened_answer(answer)
    usage = format.usage_places[0]
    lines = [f"{usage}: {_usage(answer[usage])}"] if answer.get(usage) else []
    match answer.get(format.answered):
        case list(items) if "role" in answer:
            lines += _turn(str(answer["role"]), _parts(items))
        case list(items) if not format.answers_in_text:
            lines += _embeddings(items)
        case list(items):
            for index, item in enumerate(items):
                lines += _numbered(index, item)
        case {"message": dict(message)}:
            lines += _turn(str(message.get("role")), _said(message))
        case dict() as message if "role" in message:
            lines += _turn(str(message["role"]), _said(message))
        case value if value is not None:
            lines += _turn(format.answered, [value if isinstance(value, str) else _short(value)])
    hidden = {format.answered, usage}
    others = [f"{name}: {_short(value)}" for name, value in answer.items() if name not in hidden and value is not None]
    return _cut("\n".join([*lines, *_turn("other fields", others)]), _LONGEST_TRANSCRIPT)


# -- turns


def _spoken(conversation: object) -> list[str]:
    match conversation:
        case [int(), *tokens]:
            return [f"[0] {len(tokens) + 1} tokens"]
        case [str(), *_] | [[int(), *_], *_]:
            shown = [_input(index, one) for index, one in enumerate(conversation[:_MOST_INPUTS])]
            hidden = len(conversation) - len(shown)
            return shown + ([f"… {hidden} more"] if hidden else [])
        case list(items):
            return [line for index, item in enumerate(items) for line in _numbered(index, item)]
    return _turn("user", _parts(conversation))


def _input(index: int, one: object) -> str:
    return f"[{index}] {len(one)} tokens" if isinstance(one, list) else f"[{index}] {_short(one)}"


def _numbered(index: int, item: Any) -> list[str]:
    """A message, an item of the Responses API, a choice or a candidate."""
    match item:
        case {"message": dict(message), **choice}:
            return _turn(f"[{index}] {message.get('role', 'assistant')}{_end(choice)}", _said(message))
        case {"content": {"parts": parts, **content}, **candidate}:
            return _turn(f"[{index}] {content.get('role', 'model')}{_end(candidate)}", _parts(parts))
        case {"text": str(text), "finish_reason": _}:
            return _turn(f"[{index}] completion{_end(item)}", [text])
        case {"role": str(role)}:
            return _turn(f"[{index}] {role}", _said(item))
        case {"parts": parts}:
            return _turn(f"[{index}] user", _parts(parts))
        case {"type": str(kind)}:
            return _turn(f"[{index}] {'tool' if kind.endswith('_output') else 'assistant'}", _part(item))
    return _turn(f"[{index}]", _part(item))


def _end(choice: Mapping[Any, Any]) -> str:
    reason = choice.get("finish_reason") or choice.get("finishReason")
    return f" · {reason}" if reason else ""


def _turn(speaker: str, said: Iterable[str]) -> list[str]:
    return ["", f"── {speaker} " + "─" * max(60 - len(speaker), 3), *(_cut(text, _LONGEST_TEXT) for text in said)]


def _said(message: Json) -> Iterator[str]:
    """The contents of a message with a role, in the spellings of all APIs."""
    if answered := message.get("tool_call_id"):
        yield f"← {answered}"
    for name in ("reasoning", "reasoning_content", "thinking", "tool_plan"):
        if message.get(name):
            yield f"[reasoning] {message[name]}"
    yield from _parts(message.get("content"))
    yield from _parts(message.get("parts"))
    if message.get("refusal"):
        yield f"[refusal] {message['refusal']}"
    match message.get("audio"):
        case {"data": str(data), **rest}:
            yield f"{media.describe('audio', data)} {rest.get('transcript', '')}"
    for name in ("tool_calls", "annotations"):
        yield from _parts(message.get(name))
    if message.get("function_call"):
        yield from _part({"function": message["function_call"]})


# -- parts


def _parts(content: object) -> Iterator[str]:
    match content:
        case None:
            return
        case list(items):
            for item in items:
                yield from _part(item)
        case {"parts": parts}:  # Gemini's system instruction
            yield from _parts(parts)
        case _:
            yield from _part(content)


def _part(part: object) -> Iterator[str]:
    """One part of a message, or one item of the Responses API."""
    match part:
        case str(text):
            yield text
        case {"thinking": str(text)} | {"text": str(text), "thought": True}:
            yield f"[reasoning] {text}"
        case {"type": "reasoning", **item}:
            yield from (f"[reasoning] {text}" for text in _reasoning(item))
        case {"reasoningContent": {"reasoningText": {"text": str(text)}}}:
            yield f"[reasoning] {text}"
        case {"citationsContent": {"content": texts}}:
            yield from _parts(texts)
        case {"type": "redacted_thinking", "data": str(data)}:
            yield f"[reasoning, {len(data):,} characters encrypted]"
        case {"text": str(text)}:
            yield text
        case {"refusal": str(text)}:
            yield f"[refusal] {text}"
        case dict():
            yield from _call(part)
        case _:
            yield _short(part)


def _reasoning(item: dict[Any, Any]) -> Iterator[str]:
    for name in ("summary", "content"):
        yield from _parts(item.get(name))
    if item.get("encrypted_content"):
        yield f"({len(str(item['encrypted_content'])):,} characters encrypted)"


def _call(part: Json) -> Iterator[str]:
    """A tool call or its result."""
    match part:
        case {"function": {"name": str(name), "arguments": arguments}}:
            yield from _called(name, part.get("id"), arguments)
        case {"functionCall": {"name": str(name), **rest}} | {"function_call": {"name": str(name), **rest}}:
            yield from _called(name, rest.get("id"), rest.get("args"))
        case {"type": ("function_call" | "mcp_call"), "name": str(name), "arguments": arguments}:
            yield from _called(name, part.get("call_id"), arguments)
            yield from _parts(part.get("output"))
        case {"type": str(kind), "name": str(name), "input": arguments} if kind.endswith(("tool_use", "tool_call")):
            yield from _called(name, part.get("call_id") or part.get("id"), arguments)
        case {"toolUse": {"name": str(name), **rest}}:
            yield from _called(name, rest.get("toolUseId"), rest.get("input"))
        case {"toolResult": {"toolUseId": str(id), **rest}}:
            yield from _result(f"{id}{' (error)' if rest.get('status') == 'error' else ''}", rest.get("content"))
        case {"type": str(kind), "action": action} if kind.endswith("_call"):
            yield from _called(kind.removesuffix("_call"), part.get("call_id") or part.get("id"), action)
        case {"functionResponse": {"name": str(name), **rest}} | {"function_response": {"name": str(name), **rest}}:
            yield from _result(str(rest.get("id") or name), rest.get("response"))
        case {"type": str(kind), "tool_use_id": str(id), "content": content} if kind.endswith("tool_result"):
            yield from _result(f"{id}{' (error)' if part.get('is_error') else ''}", content)
        case {"type": str(kind), "call_id": str(id), "output": output} if kind.endswith("_output"):
            yield from _result(id, output)
        case _:
            yield media.of_part(part) or _short(part)


def _called(name: str, id: object, arguments: object) -> Iterator[str]:
    yield f"→ {name}{f'  {id}' if id else ''}"
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    yield _indented(arguments if isinstance(arguments, str) else _pretty(arguments))


def _result(id: str, content: object) -> Iterator[str]:
    yield f"← {id}"
    is_message = isinstance(content, (str, list)) or (isinstance(content, dict) and "type" in content)
    for text in _parts(content) if is_message else (_pretty(content),):
        yield _indented(text)


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
    return ["", f"── {len(found)} tools", *map(_tool, found)] if found else []


def _tool(tool: object) -> str:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return _short(tool)
    names: list[str] = []
    for where in ("parameters", "input_schema", "parametersJsonSchema", "inputSchema"):
        match tool.get(where):
            case {"properties": dict(properties)} | {"json": {"properties": dict(properties)}}:
                names += properties
    told = " ".join(str(tool.get("description") or tool.get("type") or "").split())
    return f"{tool['name']}({_cut(', '.join(names), _LONGEST_VALUE)})  {_cut(told, _LONGEST_HELP)}"


def _embeddings(items: list[object]) -> list[str]:
    lines = ["", f"── {len(items)} embeddings"]
    for index, item in enumerate(items[:_MOST_INPUTS]):
        match item:
            case {"embedding": list(numbers)}:
                lines.append(f"[{index}] {len(numbers)} numbers: {', '.join(map(str, numbers[:4]))}, …")
            case {"embedding": str(data)}:
                lines.append(f"[{index}] {len(data) * 3 // 16} numbers as base64")
            case _:
                lines.append(f"[{index}] {_short(item)}")
    return lines


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
    text = value if isinstance(value, str) else _dumped(value)
    return _cut(" ".join(text.split()), _LONGEST_VALUE)


def _pretty(value: object) -> str:
    return _cut(_dumped(value, 2), _LONGEST_TEXT)


def _dumped(value: object, indent: int | None = None) -> str:
    """A value as JSON with its long strings cut, such as pictures in unknown places."""
    short = walking.map_texts(value, lambda text: _cut(text, _LONGEST_TEXT if " " in text[:1000] else _LONGEST_VALUE))
    return json.dumps(short, ensure_ascii=False, indent=indent)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in _cut(text, _LONGEST_TEXT).split("\n"))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… {len(text) - limit:,} more characters"
