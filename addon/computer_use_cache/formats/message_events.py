"""Anthropic's streams: a message is folded from, and cut into, the events of one.

Rules: https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.formats.partial_json import load_cut

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


def folded(payloads: Sequence[Json]) -> Json:
    """The message of a complete stream, from the objects of its events. Raises FormatError for an event or delta that
    could not be kept."""
    message: Json = {}
    blocks: dict[int, _Block] = {}
    for payload in payloads:
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


def payloads(answer: Json) -> Iterator[Json]:
    """The objects of the events that stream a message."""
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
