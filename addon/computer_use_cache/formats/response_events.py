"""OpenAI's streams of responses: a response is folded from, and cut into, the events of one.

Rules: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json
from computer_use_cache.models import Skip

Step = tuple[str, Json]
"""One event: its type without `response.`, and its fields beside type and sequence_number."""

# The values of fields in the event that opens a response, a part or an item, if it has these fields.
_OPEN_RESPONSE: Json = {
    "status": "in_progress",
    "completed_at": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
}
_OPEN_PART: Json = {"text": "", "refusal": "", "annotations": [], "logprobs": []}
_OPEN_ITEM: dict[str, Json] = {
    "message": {"content": []},
    "reasoning": {"summary": [], "content": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
    "mcp_call": {"arguments": "", "output": None},
    "mcp_list_tools": {"tools": []},
    "code_interpreter_call": {"code": "", "outputs": None},
    "file_search_call": {"results": None},
    "image_generation_call": {"result": None},
}
# Texts that stream: the field that holds one, and the name of its events without `.delta` and `.done`.
_PART_TEXT = {
    "output_text": ("text", "output_text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "reasoning_text"),
    "summary_text": ("text", "reasoning_summary_text"),
}
_ITEM_TEXT = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
    "mcp_call": ("arguments", "mcp_call_arguments"),
    "code_interpreter_call": ("code", "code_interpreter_call_code"),
}
# Tools that report their work, and the events between in_progress and completed, if there are any.
_WORKING = {
    "web_search_call": ("searching",),
    "file_search_call": ("searching",),
    "code_interpreter_call": ("interpreting",),
    "image_generation_call": ("generating",),
    "mcp_call": (),
    "mcp_list_tools": (),
}


def objects(owner: Json, name: str) -> list[Json]:
    """The objects listed in a field, none when it is null or missing; FormatError when it holds anything else."""
    values = owner.get(name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise FormatError(f"{name!r} is not a list of objects")
    return values


def folded(payloads: Sequence[Json]) -> Json:
    """The final response. If the provider left items out of it, those that ended during the stream are put in."""
    final: Json | None = None
    items: dict[int, Json | None] = {}
    for payload in payloads:
        match payload:
            case {"type": "response.output_item.added", "output_index": int(index), "item": dict()}:
                items[index] = None
            case {"type": "response.output_item.done", "output_index": int(index), "item": dict(item)}:
                items[index] = item
            case {"type": "response.completed" | "response.incomplete", "response": dict(response)}:
                final = response
    if final is None:
        raise FormatError("the stream has no terminal event", Skip.UNFINISHED)
    if len(objects(final, "output")) < len(items):
        if None in items.values():
            raise FormatError("an output item never ended", Skip.UNFINISHED)
        final["output"] = [items[index] for index in sorted(items)]
    return final


def _opened(whole: Json, blanks: Json) -> Json:
    """What an opening event shows: the whole, with the values of `blanks` for the fields that are filled later."""
    return {name: blanks[name] if name in blanks and value is not None else value for name, value in whole.items()}


def steps(answer: Json) -> Iterator[Step]:
    opened = _opened(answer, _OPEN_RESPONSE)
    yield "created", {"response": opened}
    yield "in_progress", {"response": opened}
    for index, item in enumerate(objects(answer, "output")):
        yield from _item_steps(index, item)
    yield answer["status"], {"response": answer}


def _item_steps(index: int, item: Json) -> Iterator[Step]:
    kind = str(item.get("type", ""))
    place = {"item_id": item.get("id", ""), "output_index": index}
    opened = _opened(item, {"status": "in_progress", **_OPEN_ITEM.get(kind, {})})
    yield "output_item.added", {"output_index": index, "item": opened}
    if kind in _WORKING:
        yield f"{kind}.in_progress", place
    if kind in _ITEM_TEXT:
        yield from _text_steps(place, item, *_ITEM_TEXT[kind])
    if kind == "reasoning":
        for number, part in enumerate(objects(item, "summary")):
            yield from _part_steps("reasoning_summary_part", {**place, "summary_index": number}, part)
    if kind in ("message", "reasoning"):
        for number, part in enumerate(objects(item, "content")):
            yield from _part_steps("content_part", {**place, "content_index": number}, part)
    for work in _WORKING.get(kind, ()):
        yield f"{kind}.{work}", place
    if kind in _WORKING:
        failed = item.get("error") or item.get("status", "completed") != "completed"
        if not failed:
            yield f"{kind}.completed", place
        elif kind in ("mcp_call", "mcp_list_tools"):
            # Only these have an event for failure.
            yield f"{kind}.failed", place
    yield "output_item.done", {"output_index": index, "item": item}


def _part_steps(event: str, place: Json, part: Json) -> Iterator[Step]:
    yield f"{event}.added", {**place, "part": _opened(part, _OPEN_PART)}
    kind = str(part.get("type", ""))
    if kind in _PART_TEXT:
        yield from _text_steps(place, part, *_PART_TEXT[kind])
    yield f"{event}.done", {**place, "part": part}


def _text_steps(place: Json, owner: Json, field: str, event: str) -> Iterator[Step]:
    text = owner.get(field)
    if not isinstance(text, str):
        return
    extra: Json = {}
    annotations: list[Json] = []
    if event == "output_text":
        extra = {"logprobs": owner.get("logprobs") or []}
        annotations = objects(owner, "annotations")
    if text:
        yield f"{event}.delta", {**place, "delta": text, **extra}
    for number, annotation in enumerate(annotations):
        yield f"{event}.annotation.added", {**place, "annotation_index": number, "annotation": annotation}
    yield f"{event}.done", {**place, field: text, **extra}
