"""OpenAI Responses: the terminal event holds the whole answer, and the events before it bring it piece by piece.

Rules: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import findings
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_objects
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.openai import CLIENT_IDS, EXCLUDED, OpenAI
from computer_use_cache.models import Ending, Event, Skip

_Step = tuple[str, Json]
"""One event: its type without `response.`, and its fields beside type and sequence_number."""

# How a response, a part and an item look in the event that opens them, for the fields they have.
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
# Texts that stream: the field, and the event that ends in `.delta` and `.done`.
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
# The tools that report their work, and the event between in_progress and completed where there is one.
_WORKING = {
    "web_search_call": ("searching",),
    "file_search_call": ("searching",),
    "code_interpreter_call": ("interpreting",),
    "image_generation_call": ("generating",),
    "mcp_call": (),
    "mcp_list_tools": (),
}


_UNFINISHED = ("in_progress", "queued", "searching", "interpreting", "generating")
"""The status of an item that was not finished."""


class Responses(OpenAI, Format):
    """`POST /responses`. https://platform.openai.com/docs/api-reference/responses/create"""

    name = "responses"
    offline_status = 400
    key_excluded = EXCLUDED
    routes = ("/responses",)
    has_websocket = True
    chain = "previous_response_id"
    conversation = "input"
    instructions = ("instructions",)
    answered = "output"
    image_places = (
        *("input/*/content/*/image_url", "input/*/output/image_url", "input/*/output/*/image_url"),
        *("input/*/content/*/file_data", "input/*/output/*/file_data"),
    )
    usage_places = ("usage", "response/usage")
    usage_flavor = UsageFlavor("openai", "responses", ("responses",))
    client_ids = (*CLIENT_IDS, "client_metadata", "input/*/internal_chat_message_metadata_passthrough")
    """The last two are Codex's."""
    call_id_places = (
        *("input/*/id", "input/*/call_id", "input/*/approval_request_id", "input/*/caller/caller_id"),
        *("input/*/pending_safety_checks/*/id", "input/*/acknowledged_safety_checks/*/id"),
    )

    reference_types = ("item_reference", "image_generation_call")

    def guessed_route(self, body: Json) -> str:
        return self.routes[0] if "input" in body else ""

    def messages_of(self, body: Json) -> list[Any]:
        """A conversation may be a bare text, which is the user's."""
        match body.get(self.conversation):
            case str(text):
                return [{"role": "user", "content": text}]
        return super().messages_of(body)

    def is_answer(self, message: Json) -> bool:
        """Tool calls and reasoning have no role."""
        if role := message.get("role"):
            return bool(role == "assistant")
        return str(message.get("type")).endswith(("_call", "reasoning"))

    def keeps_answer(self, body: Json) -> bool:
        return body.get("store") is not False and not _repeats_answers(body)

    def signed_members(self, part: Json) -> Collection[str]:
        is_picture = part.get("type") == "image_generation_call"  # drawn from the prompt that it repeats
        return part.keys() if part.get("encrypted_content") or is_picture else ()

    def bypass_reason(self, body: Json) -> str | None:
        if body.get("conversation"):
            return "conversation is mutable state"
        if body.get("background"):
            return "background answers come later"
        return super().bypass_reason(body)

    def text_answer(self, text: str, model: str) -> Json:
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message = {"type": "message", "id": "msg_given", "status": "completed", "role": "assistant", "content": [part]}
        spent = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return {
            **{"id": "resp_given", "object": "response", "created_at": 0, "status": "completed", "model": model},
            **{"error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "output": [message]},
            **{"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": None, "top_p": None},
            "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0} | spent,
        }

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        status = answer.get("status")
        if status not in ("completed", "incomplete"):
            reason = Skip.UNFINISHED if status in _UNFINISHED else Skip.FAILED
            raise FormatError(f"the response's status is {status!r}", reason)
        if answer.get("output") is None:
            raise FormatError("the response has no output")
        items = _objects(answer, "output")
        for item in items:
            _check_item(item)
        details = answer.get("incomplete_details")
        endings = set(findings.endings(details.values() if isinstance(details, dict) else ()))
        if any(map(_refuses, items)):
            endings.add(Ending.REFUSAL)
        return Findings(not any(map(_says, items)), frozenset(endings))

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        if any(event.name == "error" for event in events):
            raise FormatError("there is an error in the stream", Skip.ERROR)
        payloads = load_objects(events)
        for payload in payloads:
            findings.refuse_error(payload, "stream")
            if payload.get("type") in ("error", "response.failed"):
                raise FormatError("there is an error in the stream", Skip.ERROR)
        return self.check_answer(_folded(payloads))

    def assemble(self, events: Sequence[Event]) -> Json:
        """The terminal event's response; FormatError without one, or when an item is not in it and never ended."""
        return _folded(load_objects(events))

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        events = []
        for number, (kind, fields) in enumerate(_steps(answer)):
            name = f"response.{kind}"
            events.append(Event(name, dump({"type": name, "sequence_number": number, **fields})))
        return events


def _repeats_answers(body: Json) -> bool:
    """Whether a request holds earlier answers in full and names none by its id. A client that carries the conversation
    by itself will not name this answer later, either."""
    items = body.get("input")
    if body.get("previous_response_id") or not isinstance(items, list):
        return False
    objects = [item for item in items if isinstance(item, dict)]
    return any(map(_is_answered, objects)) and not any(map(_is_reference, objects))


def _is_answered(item: Json) -> bool:
    """Whether an item of a request is from an earlier answer. A message that the client made up has no id."""
    is_message = item.get("type", "message") == "message" and item.get("role") == "assistant"
    return str(item.get("type")).endswith("_call") or (is_message and bool(item.get("id")))


def _is_reference(item: Json) -> bool:
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    return bool(kind == "item_reference")


def _check_item(item: Json) -> None:
    findings.refuse_error(item, "item")
    status = item.get("status")
    if status == "failed":
        raise FormatError(f"an item of type {item.get('type')!r} has failed", Skip.FAILED)
    if status in _UNFINISHED:
        raise FormatError(f"an item of type {item.get('type')!r} never finished", Skip.UNFINISHED)


def _says(item: Json) -> bool:
    """Whether an item says anything: a message by its content, any other item by being there."""
    return item.get("type") != "message" or findings.says(item.get("content"))


def _refuses(item: Json) -> bool:
    parts = item.get("content") if item.get("type") == "message" else None
    return isinstance(parts, list) and any(isinstance(part, dict) and part.get("refusal") for part in parts)


def _objects(owner: Json, name: str) -> list[Json]:
    """The objects listed in a field, none when it is null or missing; FormatError when it holds anything else."""
    values = owner.get(name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise FormatError(f"{name!r} is not a list of objects")
    return values


def _folded(payloads: Sequence[Json]) -> Json:
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
    if len(_objects(final, "output")) < len(items):
        if None in items.values():
            raise FormatError("an output item never ended", Skip.UNFINISHED)
        final["output"] = [items[index] for index in sorted(items)]
    return final


def _opened(whole: Json, blanks: Json) -> Json:
    """What an opening event shows: the whole, with the values of `blanks` for the fields that are filled later."""
    return {name: blanks[name] if name in blanks and value is not None else value for name, value in whole.items()}


def _steps(answer: Json) -> Iterator[_Step]:
    opened = _opened(answer, _OPEN_RESPONSE)
    yield "created", {"response": opened}
    yield "in_progress", {"response": opened}
    for index, item in enumerate(_objects(answer, "output")):
        yield from _item_steps(index, item)
    yield answer["status"], {"response": answer}


def _item_steps(index: int, item: Json) -> Iterator[_Step]:
    kind = str(item.get("type", ""))
    place = {"item_id": item.get("id", ""), "output_index": index}
    opened = _opened(item, {"status": "in_progress", **_OPEN_ITEM.get(kind, {})})
    yield "output_item.added", {"output_index": index, "item": opened}
    if kind in _WORKING:
        yield f"{kind}.in_progress", place
    if kind in _ITEM_TEXT:
        yield from _text_steps(place, item, *_ITEM_TEXT[kind])
    if kind == "reasoning":
        for number, part in enumerate(_objects(item, "summary")):
            yield from _part_steps("reasoning_summary_part", {**place, "summary_index": number}, part)
    if kind in ("message", "reasoning"):
        for number, part in enumerate(_objects(item, "content")):
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


def _part_steps(event: str, place: Json, part: Json) -> Iterator[_Step]:
    yield f"{event}.added", {**place, "part": _opened(part, _OPEN_PART)}
    kind = str(part.get("type", ""))
    if kind in _PART_TEXT:
        yield from _text_steps(place, part, *_PART_TEXT[kind])
    yield f"{event}.done", {**place, "part": part}


def _text_steps(place: Json, owner: Json, field: str, event: str) -> Iterator[_Step]:
    text = owner.get(field)
    if not isinstance(text, str):
        return
    extra: Json = {}
    annotations: list[Json] = []
    if event == "output_text":
        extra = {"logprobs": owner.get("logprobs") or []}
        annotations = _objects(owner, "annotations")
    if text:
        yield f"{event}.delta", {**place, "delta": text, **extra}
    for number, annotation in enumerate(annotations):
        yield f"{event}.annotation.added", {**place, "annotation_index": number, "annotation": annotation}
    yield f"{event}.done", {**place, field: text, **extra}
