"""Reads the parts of a message, in the spellings of all APIs, as items without a speaker.

Anything may have been sent. Parts of an unknown form become items that hold their JSON; nothing is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from computer_use_cache.formats import media
from computer_use_cache.formats.base import Json
from computer_use_cache.formats.item import Item, Kind, as_json_text, parse_json
from computer_use_cache.formats.media import Media

THINKING = ("reasoning", "reasoning_content", "thinking", "tool_plan")
"""Members of a message that hold what the model thought."""


def of_message(message: Json) -> Iterator[Item]:
    """The contents of a message, in the spellings of all APIs."""
    for name in THINKING:
        if message.get(name):
            yield Item("", Kind.THINKING, str(message[name]))
    contents = [message.get(name) for name in ("content", "parts", "message")]
    said = [item for content in contents for item in of_content(content)]
    said += (Item("", Kind.MEDIA, str(one), media=one) for one in _pictures(message.get("images")))
    if message.get("role") in ("tool", "function"):
        said = _answered(message.get("tool_call_id") or message.get("tool_name") or message.get("name"), said)
    yield from said
    if message.get("refusal"):
        yield Item("", Kind.REFUSAL, str(message["refusal"]))
    match message.get("audio"):
        case {"data": str(data), **rest}:
            sound = Media("audio", data)
            yield Item("", Kind.MEDIA, f"{sound} {rest.get('transcript', '')}", media=sound)
    for name in ("tool_calls", "tool_results", "annotations"):
        yield from of_content(message.get(name))
    if message.get("function_call"):
        yield from of_part({"function": message["function_call"]})


def _pictures(images: object) -> Iterator[Media]:
    """Ollama's pictures, which are bare base64."""
    return (Media("image", data) for data in (images if isinstance(images, list) else ()) if isinstance(data, str))


def of_content(content: object) -> Iterator[Item]:
    match content:
        case None:
            return
        case list(items):
            for item in items:
                yield from of_part(item)
        case {"parts": parts}:  # Gemini's system instruction
            yield from of_content(parts)
        case _:
            yield from of_part(content)


def of_part(part: Any) -> Iterator[Item]:
    """One part of a message, or one item of the Responses API."""
    match part:
        case str(text):
            yield Item("", Kind.TEXT, text)
        case {"thinking": str(text)} | {"text": str(text), "thought": True}:
            yield Item("", Kind.THINKING, text)
        case {"type": "reasoning"}:
            yield from _reasoning(part)
        case {"reasoningContent": {"reasoningText": {"text": str(text)}}}:
            yield Item("", Kind.THINKING, text)
        case {"citationsContent": {"content": texts}}:
            yield from of_content(texts)
        case {"type": "redacted_thinking", "data": str(data)} | {"reasoningContent": {"redactedContent": str(data)}}:
            yield _encrypted(data)
        case {"text": str(text)}:
            yield Item("", Kind.TEXT, text)
        case {"refusal": str(text)}:
            yield Item("", Kind.REFUSAL, text)
        case dict():
            yield from _result(part) or ((call,) if (call := _call(part)) else (other(part),))
        case _:
            yield other(part)


def _reasoning(item: Json) -> Iterator[Item]:
    for name in ("summary", "content"):
        yield from (replace(each, kind=Kind.THINKING) for each in of_content(item.get(name)))
    if item.get("encrypted_content"):
        yield _encrypted(str(item["encrypted_content"]))


def _encrypted(data: str) -> Item:
    return Item("", Kind.THINKING, f"({len(data):,} characters encrypted)")


def _call(part: Json) -> Item | None:
    """A tool call; None if the part is another one."""
    id = part.get("call_id") or part.get("id")
    match part:
        case {"function": {"name": str(name), "arguments": arguments}}:
            return _called(name, id, arguments)
        case {"functionCall": {"name": str(name), **call}} | {"function_call": {"name": str(name), **call}}:
            return _called(name, call.get("id"), call.get("args"))
        case {"type": ("function_call" | "mcp_call"), "name": str(name), "arguments": arguments}:
            return _called(name, id, arguments)
        case {"type": str(kind), "name": str(name), "input": arguments} if kind.endswith(("tool_use", "tool_call")):
            return _called(name, id, arguments)
        case {"toolUse": {"name": str(name), **call}}:
            return _called(name, call.get("toolUseId"), call.get("input"))
        case {"name": str(name), "parameters": arguments}:  # Cohere
            return _called(name, id, arguments)
        case {"type": str(kind), "action": arguments} if kind.endswith("_call"):
            return _called(kind.removesuffix("_call"), id, arguments)
        case {"type": str(kind), "actions": list(arguments)} if kind.endswith("_call"):
            return _called(kind.removesuffix("_call"), id, {"actions": arguments})
    return None


def _called(name: str, id: object, arguments: object) -> Item:
    if isinstance(arguments, str):
        arguments = parse_json(arguments)
    text = arguments if isinstance(arguments, str) else as_json_text(arguments, 2)
    return Item("", Kind.CALL, text, name=name, call_id=str(id or ""), arguments=arguments)


def _result(part: Json) -> list[Item]:
    """A tool's result; nothing if the part is another one."""
    match part:
        case {"toolResult": {"toolUseId": id, **result}}:
            return _answered(id, of_content(result.get("content")), is_error=result.get("status") == "error")
        case {"functionResponse": {"name": str(name), **result}} | {"function_response": {"name": str(name), **result}}:
            return _answered(
                result.get("id") or name, [other(result.get("response")), *of_content(result.get("parts"))]
            )
        case {"type": str(kind), "tool_use_id": id, "content": content} if kind.endswith("tool_result"):
            return _answered(id, of_content(content), is_error=bool(part.get("is_error")))
        case {"type": str(kind), "call_id": id, "output": output} if kind.endswith("_output"):
            return _answered(id, of_content(output))
        case {"call": {"name": str(name)}, "outputs": outputs}:  # Cohere
            return _answered(name, of_content(outputs))
    return []


def _answered(id: object, items: Iterable[Item], *, is_error: bool = False) -> list[Item]:
    """Items as parts of the result of a call."""
    return [
        replace(
            item,
            kind=item.kind if item.kind is Kind.MEDIA else Kind.RESULT,
            call_id=str(id or ""),
            is_error=is_error,
        )
        for item in items
    ]


def other(value: object) -> Item:
    """A picture, sound or file, else a part of unknown form."""
    found = media.of_part(value)
    return Item("", Kind.MEDIA, str(found), media=found) if found else Item("", Kind.OTHER, as_json_text(value, 2))
