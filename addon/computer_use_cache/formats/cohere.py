"""Cohere's chat, version 2: a stream opens, fills and closes each part of the message under its index.

Rules: https://docs.cohere.com/v2/reference/chat-stream
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import findings, members
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_objects
from computer_use_cache.formats.findings import Findings
from computer_use_cache.models import Event, Skip

_PARTS = {"content": "content", "tool-call": "tool_calls", "citation": "citations"}
"""Members of a message that come in parts, by what their events are called."""
_TEXTS = ("text", "thinking", "arguments", "tool_plan")
"""Strings that arrive in pieces."""


class Cohere(Format):
    """What Cohere's APIs share."""

    key_excluded = frozenset({"stream", "cache_control", "metadata"})
    usage_flavor = UsageFlavor("cohere", "default", ("default",))
    volatile_members = members.VOLATILE | {"generation_id", "response_id", "meta"}

    def error(self, error: RequestError) -> Json:
        return {"message": error.message}


class CohereChat(Cohere):
    """`POST /v2/chat`."""

    name = "cohere_chat"
    origin_routes = ("/v2/chat",)
    answered = "message"
    image_places = ("messages/*/content/*/image_url/url",)
    usage_places = ("usage", "delta/usage")
    call_id_places = ("messages/*/tool_calls/*/id", "messages/*/tool_call_id")

    def text_answer(self, text: str, model: str) -> Json:
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        usage = {"billed_units": {"input_tokens": 0, "output_tokens": 0}}
        return {"id": "given", "finish_reason": "COMPLETE", "message": message, "usage": usage}

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        reason, message = answer.get("finish_reason"), answer.get("message")
        if not reason or not isinstance(message, dict):
            raise FormatError("the answer never got a finish reason", Skip.UNFINISHED)
        said = {name: value for name, value in message.items() if name != "citations"}
        return Findings(not findings.says(said), frozenset(findings.endings((reason,))))

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        payloads = load_objects(events)
        for payload in payloads:
            findings.refuse_error(payload, "stream")
            delta = payload.get("delta")
            findings.refuse_error(delta if isinstance(delta, dict) else {}, "stream")
        if not any(payload.get("type") == "message-end" for payload in payloads):
            raise FormatError("the stream ends without message-end", Skip.UNFINISHED)
        return self.check_answer(_folded(payloads))

    def assemble(self, events: Sequence[Event]) -> Json:
        return _folded(load_objects(events))

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        return [Event(payload["type"], dump(payload)) for payload in _payloads(answer)]


def _folded(payloads: Iterable[Json]) -> Json:
    """The answer of a stream."""
    answer: Json = {}
    message: Json = {}
    parts: dict[str, dict[int, Json]] = {}
    for payload in payloads:
        kind, delta = str(payload.get("type")), payload.get("delta")
        if not isinstance(delta, dict):
            continue
        owner, said = kind.rpartition("-")[0], delta.get("message")
        member = _PARTS.get(owner)
        if kind == "message-start":
            answer["id"] = payload.get("id")
            _grow(message, said)
        elif kind == "message-end":
            answer |= delta
        elif member and isinstance(said, dict):
            _grow(parts.setdefault(member, {}).setdefault(_index(payload), {}), said.get(member))
        else:
            _grow(message, said)
    for member in _PARTS.values():
        if member in parts:
            message[member] = [parts[member][index] for index in sorted(parts[member])]
        elif not message.get(member):
            message.pop(member, None)
    if not message.get("tool_plan"):
        message.pop("tool_plan", None)
    return answer | {"message": message}


def _index(payload: Json) -> int:
    index = payload.get("index") or 0
    if not isinstance(index, int):
        raise FormatError("the index of a part is not an integer")
    return index


def _grow(whole: Json, piece: Any) -> None:
    """Add a delta to what came before: texts are appended, other values replace."""
    for name, value in piece.items() if isinstance(piece, dict) else ():
        known = whole.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            _grow(known, value)
        elif name in _TEXTS and isinstance(known, str) and isinstance(value, str):
            whole[name] = known + value
        else:
            whole[name] = value


def _payloads(answer: Json) -> Iterator[Json]:
    message = answer.get("message")
    if not isinstance(message, dict):
        raise FormatError("the answer has no message")
    opened = {
        "role": message.get("role", "assistant"),
        "content": [],
        "tool_plan": "",
        "tool_calls": [],
        "citations": [],
    }
    yield {"type": "message-start", "id": answer.get("id"), "delta": {"message": opened}}
    if message.get("tool_plan"):
        yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": message["tool_plan"]}}}
    for owner, member in _PARTS.items():
        parts = message.get(member) or []
        if not isinstance(parts, list):
            raise FormatError(f"`{member}` is not a list")
        for index, part in enumerate(parts):
            yield from _part(owner, member, index, part)
    end = {name: value for name, value in answer.items() if name not in ("id", "message")}
    yield {"type": "message-end", "id": answer.get("id"), "delta": end}


def _part(owner: str, member: str, index: int, part: Json) -> Iterator[Json]:
    """The events of one part: an opening one in which its texts are empty, and a delta with them."""

    def event(step: str, piece: Json) -> Json:
        return {"type": f"{owner}-{step}", "index": index, "delta": {"message": {member: piece}}}

    match part:
        case {"function": {"arguments": str(arguments), **function}}:
            yield event("start", part | {"function": function | {"arguments": ""}})
            yield event("delta", {"function": {"arguments": arguments}})
        case {"type": ("text" | "thinking") as name} if owner == "content":
            yield event("start", part | {name: ""})
            yield event("delta", {name: part.get(name)})
        case _:
            yield event("start", part)
    yield {"type": f"{owner}-end", "index": index}
