"""OpenAI Responses: which answers are good, and which part of a request decides them. Streams: response_events.py.

Rules: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import findings, response_events
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_objects
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.openai import CLIENT_IDS, EXCLUDED, OpenAI
from computer_use_cache.models import Ending, Event, Skip

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
        return body.get("store") is not False

    def repeats_answers(self, body: Json) -> bool:
        items = body.get("input")
        if body.get("previous_response_id") or not isinstance(items, list):
            return False
        objects = [item for item in items if isinstance(item, dict)]
        return any(map(_is_answered, objects)) and not any(map(_is_reference, objects))

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
        items = response_events.objects(answer, "output")
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
        return self.check_answer(response_events.folded(payloads))

    def assemble(self, events: Sequence[Event]) -> Json:
        """The terminal event's response; FormatError without one, or when an item is not in it and never ended."""
        return response_events.folded(load_objects(events))

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        events = []
        for number, (kind, fields) in enumerate(response_events.steps(answer)):
            name = f"response.{kind}"
            events.append(Event(name, dump({"type": name, "sequence_number": number, **fields})))
        return events


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
