"""Chat completions: the deltas of a stream add up to the message of the answer.

Text grows, labels such as `role` and `id` stay, objects and lists are joined member by member; this holds
for fields that the API does not define as well.
Rules: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Sequence
from types import NoneType
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json
from computer_use_cache.formats.deltas import TextDelta
from computer_use_cache.formats.openai_choices import ChoiceFormat, join_extras, without
from computer_use_cache.models import Event

_LABELS = frozenset({"role", "id", "type", "name", "format"})
"""Strings that arrive whole. Some servers repeat them in every delta, so they must not be appended."""
_TEXTS = ("reasoning", "reasoning_content", "content", "refusal")
"""Strings of a message that get a delta of their own, in the order in which a model writes them."""
_COMMENTS = frozenset({"role", "name", "annotations", "citations", "provider_specific_fields"})
"""Members of a message that say nothing by themselves."""
_JOINED = frozenset(("index", "delta", "message", "text"))
"""Members of a choice that are handled elsewhere, or only repeat others: beside each delta, Perplexity sends the
message so far, and Together the delta's text."""
_TEXT_DELTA = TextDelta.of(
    rb'\{[^][{}]*"choices": ?\[\{[^][{}]*"delta": ?\{(?:"role": ?"assistant", ?)?'
    rb'"(?:content|reasoning_content)": ?"',
    rb'(?P<end>"\}[^][{}]*\}\][^][{}]*?)(?:, ?"(?:obfuscation|p)": ?"[^"\\\x00-\x1f\x80-\xff]*")?\}',
)
"""No other list or object may be in the event: joining chunks would make it grow."""


class ChatCompletions(ChoiceFormat):
    """`/chat/completions`."""

    name = "chat_completions"
    routes = ("/chat/completions",)
    answer_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    text_delta = _TEXT_DELTA
    image_places = ("messages/*/content/*/image_url/url", "messages/*/content/*/file/file_data")
    call_id_places = ("messages/*/tool_calls/*/id", "messages/*/tool_call_id")

    def guessed_route(self, body: Json) -> str:
        return self.routes[0] if "messages" in body else ""

    def signed_members(self, part: Json) -> Collection[str]:
        match part:
            case {"signature": str()} | {"type": "reasoning.encrypted"}:
                return part.keys()
            case {"data": str(), "transcript": _}:  # spoken: the sound cannot be changed
                return ("data", "transcript")
        return ()

    def key_body(self, body: Json) -> Json:
        """Leaves out `cache_control` of content parts too (Anthropic's, for OpenRouter): it only changes billing."""
        key = super().key_body(body)
        if isinstance(messages := key.get("messages"), list):
            key["messages"] = [
                _uncontrolled(message)
                if isinstance(message, dict) and isinstance(message.get("content"), list)
                else message
                for message in messages
            ]
        return key

    def text_choice(self, text: str) -> Json:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def said(self, part: Json) -> Json:
        said = part.get("message") or part.get("delta") or {}
        return {name: value for name, value in said.items() if name not in _COMMENTS} if isinstance(said, dict) else {}

    def assemble(self, events: Sequence[Event]) -> Json:
        answer = super().assemble(events)
        for choice in answer["choices"]:
            message = choice["message"]
            if calls := _tool_calls(message):
                message["tool_calls"] = [_whole_call(call) for call in _in_order(calls)]
            match message.get("audio"):
                case {"data": str(data)}:
                    message["audio"] |= {"data": _one_base64(data)}
        return answer

    def join_part(self, choice: Json, part: Json) -> None:
        if "message" not in choice:
            choice["message"] = {"role": "assistant", "content": None}
        message, delta = choice["message"], part.get("delta") or {}
        if not isinstance(delta, dict):
            raise FormatError("the `delta` of a choice is not an object")
        for name, value in delta.items():  # in place: there may be thousands of deltas
            message[name] = _joined(name, message.get(name), value)
        join_extras(choice, part, _JOINED)

    def split_choice(self, choice: Json) -> list[Json]:
        message = choice.get("message") or {}
        if not isinstance(message, dict):
            raise FormatError("the `message` of a choice is not an object")
        extras = without(choice, "message", "finish_reason", "logprobs")
        labels = {name: value for name, value in extras.items() if not isinstance(value, (dict, list))}
        parts: list[Json] = [{"delta": delta, "finish_reason": None} for delta in _split_message(message)]
        # SDKs keep unknown fields of a choice's first part only; OpenRouter sends its own finish reason in the last.
        parts[0] = extras | parts[0]
        parts.append(labels | {"delta": {}, "finish_reason": choice.get("finish_reason")})
        if "logprobs" in choice:
            parts = [part | {"logprobs": None} for part in parts]
            spoken = (part for part in parts[1:] if part["delta"].keys() & {"content", "refusal"})
            next(spoken, parts[0])["logprobs"] = choice["logprobs"]
        return parts


def _uncontrolled(message: Json) -> Json:
    parts = message["content"]
    if not [part for part in parts if isinstance(part, dict) and "cache_control" in part]:
        return message
    return message | {"content": [without(part, "cache_control") if isinstance(part, dict) else part for part in parts]}


def _split_message(message: Json) -> list[Json]:
    """The deltas of a message: first what comes whole, then each text, then each tool call."""
    texts = [name for name in _TEXTS if message.get(name) and isinstance(message[name], str)]
    calls = _tool_calls(message)
    whole = {
        name: _told_apart(value) if isinstance(value, list) else value
        for name, value in without(message, *texts, "tool_calls" if calls else "").items()
    }
    return [
        whole,
        *({name: message[name]} for name in texts),
        *({"tool_calls": [call | {"index": position}]} for position, call in enumerate(calls)),
    ]


def _tool_calls(message: Json) -> list[Json]:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not _are_objects(*calls):
        raise FormatError("`tool_calls` is not a list of objects")
    return calls


def _in_order(calls: list[Json]) -> list[Json]:
    """The calls by index, where each has one."""
    if all(isinstance(call.get("index"), int) for call in calls):
        return sorted(calls, key=lambda call: int(call["index"]))
    return calls


def _whole_call(call: Json) -> Json:
    """A joined call as an answer has it: without the `index` of streams, with the `type` that xAI streams omit."""
    return {"type": "custom" if "custom" in call else "function"} | without(call, "index")


def _told_apart(entries: list[Any]) -> list[Any]:
    """The entries, renumbered if an `index` occurs twice: SDKs merge those, even a summary and its encrypted form."""
    indices = [entry["index"] for entry in entries if isinstance(entry, dict) and "index" in entry]
    if all(indices.count(index) == 1 for index in indices):
        return entries
    return [entry | {"index": position} if isinstance(entry, dict) else entry for position, entry in enumerate(entries)]


def _one_base64(data: str) -> str:
    """One base64 text from pieces that may each end in padding."""
    pieces = re.findall("[^=]+=*", data)
    if len(pieces) < 2:
        return data
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode()
    except ValueError:
        raise FormatError("the audio is not base64") from None


def _joined_object(known: Json, delta: Json) -> Json:
    return known | {name: _joined(name, known.get(name), value) for name, value in delta.items()}


def _joined(name: str, known: Any, value: Any) -> Any:
    """The value of the field `name` after two deltas."""
    if value is None:
        return known
    if name == "content" and (isinstance(known, list) or isinstance(value, list)):
        return _joined_content(known, value)
    if isinstance(value, list) and isinstance(known, (list, NoneType)):
        return _joined_list(known or [], value, _same_call if name == "tool_calls" else _same_entry)
    if known is None:
        return value
    if isinstance(known, str) and isinstance(value, str):
        return (value or known) if name in _LABELS else known + value
    if isinstance(known, dict) and isinstance(value, dict):
        return _joined_object(known, value)
    if isinstance(known, (int, float)) and isinstance(value, (int, float)):
        return value
    raise FormatError(f"the deltas give values of different types for `{name}`")


def _joined_content(known: Any, value: Any) -> list[Any]:
    """Joins content that comes partly as chunks (Mistral's thoughts) and partly as plain text."""
    chunks = _content_chunks(known)
    for chunk in _content_chunks(value):
        match chunks[-1:], chunk:
            case [{"type": "text", "text": str(before)} as last], {"type": "text", "text": str(more)}:
                chunks[-1] = last | chunk | {"text": before + more}
            case [{"type": "thinking", "thinking": list(before)} as last], {"type": "thinking", "thinking": list(more)}:
                chunks[-1] = last | chunk | {"thinking": _joined_content(before, more)}
            case _:
                chunks.append(chunk)
    return chunks


def _content_chunks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, (list, NoneType)) or not _are_objects(*content or ()):
        raise FormatError("the content is neither text nor a list of objects")
    return list(content or ())


def _joined_list(known: list[Any], more: list[Any], same: Callable[[Json, Json], bool]) -> list[Any]:
    """The list with each new entry merged into the last one that it continues, or else appended."""
    entries = list(known)
    for entry in more:
        for place in reversed(range(len(entries))):
            if _are_objects(entries[place], entry) and same(entries[place], entry):
                entries[place] = _joined_object(entries[place], entry)
                break
        else:
            entries.append(entry)
    return entries


def _are_objects(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _differ(one: Any, other: Any) -> bool:
    return bool(one and other and one != other)


def _same_entry(known: Json, entry: Json) -> bool:
    """Whether an entry of a list (`reasoning_details`) continues a known one; without `index` it never does.

    OpenRouter streams a summary and its encrypted form with one index: only type and id tell them apart.
    """
    return (
        "index" in entry
        and known.get("index") == entry["index"]
        and not any(_differ(known.get(label), entry.get(label)) for label in ("type", "id"))
    )


def _same_call(known: Json, entry: Json) -> bool:
    """Whether a delta continues a known tool call, also where a server omits `index` or gives all calls the same."""
    if _differ(known.get("id"), entry.get("id")) or _differ(_called(known), _called(entry)):
        return False
    if entry.get("index") is not None:
        return bool(known.get("index") == entry["index"])
    if entry.get("id"):
        return bool(known.get("id"))
    return not _called(entry)


def _called(call: Json) -> Any:
    tool = call.get("function") or call.get("custom")
    return tool.get("name") if isinstance(tool, dict) else None
