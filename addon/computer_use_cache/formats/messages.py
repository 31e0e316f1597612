"""Anthropic Messages: which answers are good, and which part of a request decides them. Streams: message_events.py.

Rules: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import ClassVar

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import cache_control, findings, message_events, vertex
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_objects
from computer_use_cache.formats.deltas import TextDelta
from computer_use_cache.formats.findings import Findings
from computer_use_cache.models import Event, Query, Shape, Skip

# https://docs.anthropic.com/en/api/errors
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OTHER_ROUTES = re.compile(r"/messages(?:/|$)|^/api/(?:hello|claude|event_logging|oauth)")
"""Routes below Messages, and the other routes that Claude Code uses."""
_TEXT_DELTA = TextDelta.of(
    rb'\{"type": ?"content_block_delta", ?"index": ?[0-9]+, ?"delta": ?'
    rb'\{"type": ?(?:"text_delta", ?"text"|"thinking_delta", ?"thinking"): ?"',
    rb'(?P<end>"\}) *\}',
)


class Messages(Format):
    """`POST /messages`, and Claude on Vertex AI. https://docs.anthropic.com/en/api/messages"""

    name = "messages"
    offline_status = 400
    credential_header = "x-api-key"
    key_excluded = frozenset({"stream", "cache_control", "metadata"})
    key_headers: ClassVar[tuple[str, ...]] = ("anthropic-version", "anthropic-beta")
    client_ids = ("metadata/user_id",)
    """Claude Code names account, installation and session in it."""
    routes: ClassVar[tuple[str, ...]] = ("/messages",)
    instructions = ("system",)
    answered = "content"
    text_delta = _TEXT_DELTA
    image_places = ("messages/*/content/*/source/data", "messages/*/content/*/content/*/source/data")
    usage_places = ("usage", "message/usage")
    usage_flavor = UsageFlavor("anthropic", "default", ("anthropic",))
    foreign_history = ("`signature` in `thinking`", "`data` in `redacted_thinking`")
    call_id_places = (
        "messages/*/content/*/id",
        "messages/*/content/*/tool_use_id",
        "messages/*/content/*/caller/tool_id",
    )
    argument_objects = frozenset({"input"})

    def match(self, path: str) -> str | None:
        return super().match(path) if path in self.routes else vertex.claude(path)

    def speaks(self, path: str, below: str, headers: Collection[str]) -> bool:
        return "anthropic-version" in headers or _OTHER_ROUTES.search(path) is not None

    def guessed_route(self, body: Json) -> str:
        is_ours = "system" in body or str(body.get("model")).startswith("claude-")
        return self.routes[0] if "messages" in body and is_ours else ""

    def model(self, body: Json, resource: str) -> str:
        return resource.rpartition("/")[2] or super().model(body, resource)

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        """Vertex AI passes the body on, so its `stream` decides, and the method only where that is missing."""
        return super().wanted_shape({"stream": vertex.is_streamed(path)} | body, path, query)

    def signed_members(self, part: Json) -> Collection[str]:
        return part.keys() if part.get("type") in ("thinking", "redacted_thinking") else ()

    def key_body(self, body: Json) -> Json:
        """Leaves out `cache_control` of system, message and tool blocks too: it changes billing, not the answer."""
        key = super().key_body(body)
        for name in ("system", "tools"):
            if name in key:
                key[name] = cache_control.without(key[name])
        if isinstance(key.get("messages"), list):
            key["messages"] = [
                {**message, "content": cache_control.without(message["content"])}
                if isinstance(message, dict) and "content" in message
                else message
                for message in key["messages"]
            ]
        return key

    def with_model(self, upstream: str, path: str, model: str) -> tuple[str, str]:
        return upstream, vertex.with_model(path, model)

    def text_answer(self, text: str, model: str) -> Json:
        return {
            **{"id": "msg_given", "type": "message", "role": "assistant", "model": model},
            "content": [{"type": "text", "text": text}],
            **{"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 0}},
        }

    def check_answer(self, answer: Json) -> Findings:
        _refuse_error(answer)
        if answer.get("type") != "message":
            raise FormatError("the answer is not a message")
        content = answer.get("content")
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise FormatError("the message has no list of content blocks")
        for block in content:
            _refuse_error(block)
        return findings.of_message(answer.get("stop_reason"), is_silent=not any(map(_says, content)))

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        if any(event.name == "error" for event in events):
            raise FormatError("there is an error in the stream", Skip.ERROR)
        types: set[str] = set()
        stop_reason, is_silent = None, True
        for payload in load_objects(events):
            _refuse_error(payload)
            types.add(str(payload.get("type")))
            match payload:
                case {"message": dict(start)}:
                    stop_reason = start.get("stop_reason")
                case {"content_block": dict(block)}:
                    _refuse_error(block)
                    is_silent = is_silent and not _says(block)
                case {"type": "content_block_delta", "delta": dict(delta)}:
                    is_silent = is_silent and not findings.says(delta)
                case {"type": "message_delta", "delta": dict(delta)}:
                    stop_reason = delta.get("stop_reason") or stop_reason
        if not types >= {"message_start", "message_stop"}:
            raise FormatError("the stream does not go from message_start to message_stop", Skip.UNFINISHED)
        return findings.of_message(stop_reason, is_silent=is_silent)

    def assemble(self, events: Sequence[Event]) -> Json:
        return message_events.folded(load_objects(events))

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        return [Event(payload["type"], dump(payload)) for payload in message_events.payloads(answer)]

    def error(self, error: RequestError) -> Json:
        """Anthropic's error object. https://docs.anthropic.com/en/api/errors"""
        other = "api_error" if error.status >= 500 else "invalid_request_error"
        kind = _ERROR_TYPES.get(error.status, other)
        return {"type": "error", "error": {"type": kind, "message": error.message}}


def _refuse_error(owner: Json) -> None:
    findings.refuse_error(owner, "answer")
    if owner.get("type") == "error":
        raise FormatError("the answer is an error", Skip.ERROR)


def _says(block: Json) -> bool:
    """Whether a block says anything: text and thinking only if there is some, and any other block by being there."""
    return block.get("type") not in ("text", "thinking") or findings.says(block)
