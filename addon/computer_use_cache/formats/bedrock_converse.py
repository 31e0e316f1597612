"""Bedrock's Converse and ConverseStream: an answer is folded from, and cut into, the events of one streamed message.

Rules: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import findings, members
from computer_use_cache.formats.base import Json, UsageFlavor, dump, load_object
from computer_use_cache.formats.bedrock import Bedrock
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.messages import Messages
from computer_use_cache.formats.partial_json import load_cut
from computer_use_cache.models import Event, Skip

_PADDING = "p"
"""Random text in every event, so that its length does not reveal what it says. JSON answers have none."""
_AT_STOP = ("stopReason", "additionalModelResponseFields")
"""The members of an answer that come with messageStop; all others but the message come with metadata."""
_MESSAGE = "output"


class BedrockConverse(Bedrock):
    """`POST /model/{id}/converse` and `converse-stream`, the same for all models."""

    name = "bedrock-converse"
    operations = ("converse", "converse-stream")
    key_excluded = frozenset({"requestMetadata", "cache_control", "metadata"})
    """The last two are not the API's."""
    client_ids = ("requestMetadata",)
    instructions = ("system",)
    answered = _MESSAGE
    image_places = tuple(
        f"messages/*/content/*/{place}/source/bytes" for place in ("image", "toolResult/content/*/image")
    )
    usage_flavor = UsageFlavor("aws", "default")
    volatile_members = members.VOLATILE | {"metrics", "toolUseId"}
    foreign_history = Messages.foreign_history
    call_id_places = ("messages/*/content/*/toolUse/toolUseId", "messages/*/content/*/toolResult/toolUseId")
    argument_objects = frozenset({"input"})

    def signed_members(self, part: Json) -> Collection[str]:
        match part:
            case {"text": str(), "signature": str()} | {"redactedContent": str()}:
                return part.keys()
        return ()

    def key_body(self, body: Json) -> Json:
        """Leaves out cache points, which change billing and not the answer."""
        key = super().key_body(body)
        if "system" in key:
            key["system"] = _without_points(key["system"])
        if isinstance(key.get("messages"), list):
            key["messages"] = [
                message | {"content": _without_points(message["content"])}
                if isinstance(message, dict) and "content" in message
                else message
                for message in key["messages"]
            ]
        match key.get("toolConfig"):
            case {"tools": tools, **rest}:
                key["toolConfig"] = rest | {"tools": _without_points(tools)}
        return key

    def text_answer(self, text: str, model: str) -> Json:
        usage = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
        message = {"role": "assistant", "content": [{"text": text}]}
        return {_MESSAGE: {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 0}}

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        return findings.of_message(answer.get("stopReason"), is_silent=not findings.says(_content(answer)))

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        names = {event.name for event in events}
        if not names >= {"messageStart", "messageStop"} or not (ended or "metadata" in names):
            raise FormatError("the stream does not go from messageStart to metadata", Skip.UNFINISHED)
        stop_reason, is_silent = None, True
        for event in events:
            payload = load_object(event.data)
            findings.refuse_error(payload, "stream")
            match event.name:
                case "messageStop":
                    stop_reason = payload.get("stopReason")
                case "contentBlockStart" | "contentBlockDelta":
                    is_silent = is_silent and not findings.says([payload.get("start"), payload.get("delta")])
        return findings.of_message(stop_reason, is_silent=is_silent)

    def assemble(self, events: Sequence[Event]) -> Json:
        """The answer of a complete stream; raises FormatError for an event or delta that could not be kept."""
        role, ending = "assistant", Json()
        blocks: dict[int, _Block] = {}
        for event in events:
            payload = load_object(event.data)
            payload.pop(_PADDING, None)
            match event.name, payload:
                case "messageStart", {"role": str(role)}:
                    pass
                case "contentBlockStart", {"contentBlockIndex": int(index), "start": dict(start)}:
                    blocks[index] = _Block(start)
                case "contentBlockDelta", {"contentBlockIndex": int(index), "delta": dict(delta)}:
                    blocks.setdefault(index, _Block({})).add(delta)
                case "contentBlockStop", {"contentBlockIndex": int()}:
                    pass
                case (("messageStop" | "metadata"), _):
                    ending |= payload
                case _:
                    raise FormatError(f"the event {event.name!r} is unknown or malformed")
        content = [blocks[index].finished() for index in sorted(blocks)]
        return {_MESSAGE: {"message": {"role": role, "content": content}}} | ending

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        return [Event(name, dump(payload)) for name, payload in _stream(answer)]


def _content(answer: Json) -> list[Json]:
    match answer:
        case {"output": {"message": {"content": list(content)}}} if all(isinstance(one, dict) for one in content):
            return content
    raise FormatError("the answer has no message with a list of content blocks")


def _without_points(blocks: Any) -> Any:
    if not isinstance(blocks, list):
        return blocks
    return [block for block in blocks if not (isinstance(block, dict) and block.keys() == {"cachePoint"})]


class _Block:
    """One content block while its deltas arrive."""

    def __init__(self, start: Json) -> None:
        self._start = start
        self._text: dict[str, list[str]] = {}
        self._citations: list[Any] = []
        self._result: list[Any] = []
        """The result of a tool that the provider ran."""

    def add(self, delta: Json) -> None:
        match delta:
            case {"text": str(piece)}:
                self._add("text", piece)
            case {"toolUse": {"input": str(piece)}}:
                self._add("input", piece)
            case {"reasoningContent": {"text": str(piece)}}:
                self._add("reasoning", piece)
            case {"reasoningContent": {"signature": str(piece)}}:
                self._add("signature", piece)
            case {"reasoningContent": {"redactedContent": str(piece)}}:
                self._add("redacted", piece)
            case {"toolResult": list(content)}:
                self._result += content
            case {"citation": citation}:
                self._citations.append(citation)
            case _:
                raise FormatError(f"the delta {', '.join(delta)!r} is unknown or malformed")

    def _add(self, kind: str, piece: str) -> None:
        self._text.setdefault(kind, []).append(piece)

    def finished(self) -> Json:
        """The whole block. A tool's input may have been cut at maxTokens."""
        said = {kind: "".join(pieces) for kind, pieces in self._text.items() if kind != "redacted"}
        match self._start, said:
            case {"toolUse": dict(call)}, _ if said.keys() <= {"input"} and not self._result:
                return {"toolUse": call | {"input": _input(said.get("input", ""))}}
            case {"toolResult": dict(result)}, _ if not said:
                return {"toolResult": result | {"content": self._result}}
            case {}, _ if self._start or self._result:
                raise FormatError(f"the block {', '.join(self._start)!r} is unknown, or has deltas of another kind")
            case _, {"reasoning": text, **rest}:
                return {"reasoningContent": {"reasoningText": {"text": text} | rest}}
            case _, {"signature": _}:
                return {"reasoningContent": {"reasoningText": {"text": ""} | said}}
        if "redacted" in self._text:
            return {"reasoningContent": {"redactedContent": _joined(self._text["redacted"])}}
        if self._citations:
            parts = [{"text": said["text"]}] if "text" in said else []
            return {"citationsContent": {"content": parts, "citations": self._citations}}
        return {"text": said.get("text", "")}


def _input(text: str) -> Json:
    try:
        return load_object(text.encode("utf-8", "surrogatepass")) if text else {}
    except FormatError:
        return load_cut(text)


def _joined(pieces: Sequence[str]) -> str:
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except binascii.Error:
        raise FormatError("`redactedContent` is not base64") from None


def _stream(answer: Json) -> Iterator[tuple[str, Json]]:
    """The names and payloads of the events for an answer."""
    blocks = _content(answer)
    yield "messageStart", {"role": answer[_MESSAGE]["message"].get("role", "assistant")}
    for index, block in enumerate(blocks):
        place = {"contentBlockIndex": index}
        match block:
            case {"toolUse": {"input": arguments, **call}}:
                yield "contentBlockStart", {"start": {"toolUse": call}} | place
                deltas: list[Json] = [{"toolUse": {"input": dump(arguments).decode()}}]
            case {"toolResult": {"content": list(content), **result}}:
                yield "contentBlockStart", {"start": {"toolResult": result}} | place
                deltas = [{"toolResult": content}]
            case _:
                deltas = _deltas(block)
        for delta in deltas:
            yield "contentBlockDelta", {"delta": delta} | place
        yield "contentBlockStop", place
    yield "messageStop", {name: answer[name] for name in _AT_STOP if name in answer}
    yield "metadata", {name: value for name, value in answer.items() if name not in (*_AT_STOP, _MESSAGE)}


def _deltas(block: Json) -> list[Json]:
    match block:
        case {"text": str(text)}:
            return [{"text": text}]
        case {"reasoningContent": {"reasoningText": {"text": str(text), **rest}}}:
            signature = [{"signature": rest["signature"]}] if "signature" in rest else []
            return [{"reasoningContent": piece} for piece in ({"text": text}, *signature)]
        case {"reasoningContent": {"redactedContent": str(data)}}:
            return [{"reasoningContent": {"redactedContent": data}}]
        case {"citationsContent": {"content": list(parts), "citations": list(citations)}}:
            texts: list[Json] = [{"text": part["text"]} for part in parts if isinstance(part.get("text"), str)]
            return texts + [{"citation": citation} for citation in citations]
    raise FormatError(f"the block {', '.join(block)!r} cannot be streamed")
