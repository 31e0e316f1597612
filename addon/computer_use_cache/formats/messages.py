"""Anthropic Messages: an answer is folded from, and cut into, the events of one streamed message.

Rules: https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import cache_control, findings, vertex
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_object, load_objects
from computer_use_cache.formats.deltas import TextDelta
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.partial_json import load_cut
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
# The fields of a block that travel as deltas, in Anthropic's order. All others are in content_block_start.
_STREAMED = {
    "text": ("citations", "text"),
    "thinking": ("thinking", "signature"),
    "tool_use": ("input",),
    "server_tool_use": ("input",),
}
# The events that hold a part of the message.
_TOLD = ("message_start", "content_block_start", "content_block_delta", "message_delta")
# Fields that are known only when the message ends, and are null at its start.
_ENDING = ("stop_reason", "stop_sequence", "stop_details", "container")
# The parts of usage that message_delta gives; the late ones are not in message_start.
_LATE_TOTALS = ("server_tool_use", "output_tokens_details")
_TOTALS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "iterations",
    "fallback_credit",
    *_LATE_TOTALS,
)
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
        return vertex.claude(path) or super().match(path)

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
        return _findings(answer.get("stop_reason"), is_silent=not any(map(_says, content)))

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
        return _findings(stop_reason, is_silent=is_silent)

    def assemble(self, events: Sequence[Event]) -> Json:
        """The message of a complete stream; FormatError for an event or delta that could not be kept."""
        message: Json = {}
        blocks: dict[int, _Block] = {}
        for payload in load_objects(events):
            match payload:
                case {"type": "message_start", "message": dict(start)}:
                    message = start
                case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                    blocks[index] = _Block(block)
                    match block:
                        # Another model took over; a JSON answer names only that one.
                        case {"type": "fallback", "to": {"model": model}}:
                            message["model"] = model
                case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)} if index in blocks:
                    blocks[index].add(delta)
                case {"type": "message_delta", "delta": dict(delta), **rest}:
                    usage = _updated(_usage(message), _usage(rest))
                    message = _updated(message, delta | rest) | {"usage": usage}
                case {"type": str(kind)} if kind not in _TOLD:
                    pass  # a ping, a stop, or one that is new: "code should handle unknown event types gracefully"
                case _:
                    raise FormatError(f"the event {payload.get('type')!r} is malformed")
        return message | {"content": [block.finished() for block in blocks.values()]}

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        return [Event(payload["type"], dump(payload)) for payload in _stream(answer)]

    def error(self, error: RequestError) -> Json:
        """Anthropic's error object. https://docs.anthropic.com/en/api/errors"""
        other = "api_error" if error.status >= 500 else "invalid_request_error"
        kind = _ERROR_TYPES.get(error.status, other)
        return {"type": "error", "error": {"type": kind, "message": error.message}}


def _findings(stop_reason: Any, *, is_silent: bool) -> Findings:
    if not stop_reason:
        raise FormatError("the message never got a stop reason", Skip.UNFINISHED)
    return Findings(is_silent, frozenset(findings.endings((stop_reason,))))


def _refuse_error(owner: Json) -> None:
    findings.refuse_error(owner, "answer")
    if owner.get("type") == "error":
        raise FormatError("the answer is an error", Skip.ERROR)


def _says(block: Json) -> bool:
    """Whether a block says anything: text and thinking only if there is some, and any other block by being there."""
    return block.get("type") not in ("text", "thinking") or findings.says(block)


class _Block:
    """One content block while its deltas arrive."""

    def __init__(self, start: Json) -> None:
        self._block = start
        self._pieces: dict[str, list[str]] = {}
        self._citations: list[Any] = []

    def add(self, delta: Json) -> None:
        """Take in one delta; any undocumented field of it becomes the block's."""
        match delta:
            case {"type": "text_delta", "text": str(piece), **rest}:
                self._pieces.setdefault("text", []).append(piece)
            case {"type": "thinking_delta", "thinking": str(piece), **rest}:
                self._pieces.setdefault("thinking", []).append(piece)
                # A progress hint, which no JSON answer has.
                rest.pop("estimated_tokens", None)
            case {"type": "input_json_delta", "partial_json": str(piece), **rest}:
                self._pieces.setdefault("input", []).append(piece)
            case {"type": "citations_delta", "citation": citation, **rest}:
                self._citations.append(citation)
            case {"type": "signature_delta" | "compaction_delta", **rest}:
                pass
            case _:
                raise FormatError(f"the delta {delta.get('type')!r} is unknown or malformed")
        self._block.update(rest)

    def finished(self) -> Json:
        """The whole block. A tool's input may have been cut at max_tokens; FormatError if it is no JSON object."""
        for field, pieces in self._pieces.items():
            value = "".join(pieces)
            if field != "input":
                self._block[field] = _added(self._block.get(field), value)
            elif value:
                self._block[field] = _input(value)
        if self._citations:
            self._block["citations"] = _added(self._block.get("citations"), self._citations)
        return self._block


def _added[Value: (str, list[Any])](known: Any, more: Value) -> Value:
    """What the start of a block holds, and what its deltas add to it."""
    if known is None:
        return more
    if not isinstance(known, type(more)):
        raise FormatError("a block starts with something that its deltas cannot be added to")
    return known + more


def _input(text: str) -> Json:
    try:
        return load_object(text.encode("utf-8", "surrogatepass"))
    except FormatError:
        return load_cut(text)


def _usage(owner: Json) -> Json:
    usage = owner.get("usage") or {}
    if not isinstance(usage, dict):
        raise FormatError("`usage` is not an object")
    return usage


def _updated(known: Json, news: Json) -> Json:
    """The `known` fields, updated with the `news`; a null does not replace a known field."""
    return known | {name: value for name, value in news.items() if value is not None or name not in known}


def _stream(answer: Json) -> Iterator[Json]:
    """The events' objects for a message."""
    usage = _usage(answer)
    start = {**answer, "content": [], **{name: None for name in _ENDING if name in answer}}
    start["usage"] = {name: value for name, value in usage.items() if name not in _LATE_TOTALS}
    if "output_tokens" in usage:
        start["usage"]["output_tokens"] = 1
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(answer["content"]):
        opened = dict(block)
        deltas = []
        for field in _STREAMED.get(str(block.get("type")), ()):
            if found := _deltas(field, block.get(field)):
                opened[field] = type(block[field])()
                deltas += found
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {
        "type": "message_delta",
        "delta": {name: answer[name] for name in _ENDING if name in answer},
        "usage": {name: usage[name] for name in _TOTALS if name in usage},
    }
    if "context_management" in answer:
        end["context_management"] = answer["context_management"]
    yield end
    yield {"type": "message_stop"}


def _deltas(field: str, value: Any) -> list[Json]:
    """The deltas of a block's field; none when it is empty or of a type that is not the API's."""
    match field, value:
        case "text" | "thinking" | "signature", str() if value:
            return [{"type": f"{field}_delta", field: value}]
        case "citations", list():
            return [{"type": "citations_delta", "citation": citation} for citation in value]
        case "input", dict() if value:
            return [{"type": "input_json_delta", "partial_json": dump(value).decode()}]
        case _:
            return []
