"""Short conversations for the tests of rebinding, and the whole way of an answer from one run to another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from computer_use_cache import formats
from computer_use_cache.formats.base import Format, Json, dump
from computer_use_cache.keys.key import canonical
from computer_use_cache.models import Event
from computer_use_cache.rebinding import (
    Bindings,
    Rebound,
    Refusal,
    Template,
    approve,
    profile_for,
    rebind,
    template_of,
)

CHAT = formats.by_name("chat_completions")
MESSAGES = formats.by_name("messages")
RESPONSES = formats.by_name("responses")
GEMINI = formats.by_name("gemini")


def chat(*texts: str, **more: Any) -> Json:
    """A request with the texts as system prompt, question, and results of a tool."""
    roles = ["system", "user"] if len(texts) > 1 else ["user"]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    messages += [{"role": "tool", "tool_call_id": "call_1", "content": text} for text in texts[2:]]
    return {"model": "m-1", "messages": messages} | more


def said(text: str) -> Json:
    """A chat completion with this text."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m-2024-08-06", "choices": [choice]}


def called(arguments: str) -> Json:
    """A chat completion that calls a tool with these arguments."""
    call = {"id": "call_2", "type": "function", "function": {"name": "bash", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m-1", "choices": [choice]}


def streamed_by_character(text: str) -> list[Event]:
    """A chat completion whose stream has a chunk for each character."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m-1"}
    deltas = [{"role": "assistant"}, *({"content": character} for character in text)]
    chunks = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [*(Event("", dump(chunk)) for chunk in chunks), Event("", b"[DONE]")]


def text_of(answer: Json) -> str:
    message = answer["choices"][0]["message"]
    return str(
        message["content"] if message["content"] is not None else message["tool_calls"][0]["function"]["arguments"]
    )


def template(body: Json, bindings: str = "", *, format: Format = CHAT, agent: str = "") -> Template:
    return template_of(format, format.key_body(body), Bindings.parse(bindings), profile_for(agent, dump(body)))


def digest(template: Template) -> str:
    return hashlib.sha256(canonical(template.body)).hexdigest()


def carried(
    recorded: Template,
    present: Template,
    answer: Json | Sequence[Event],
    *,
    format: Format = CHAT,
    agent: str = "",
) -> Rebound | Refusal | None:
    """A recorded answer on its way to the present request; None if the templates differ."""
    if digest(recorded) != digest(present):
        return None
    moves = approve(recorded.values, present.values, profile_for(agent, present.text).kinds)
    return moves if isinstance(moves, Refusal) else rebind(format, answer, moves, present.text)
