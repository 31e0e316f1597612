"""Bedrock's InvokeModel: each model has a body of its own, and a stream has the model's events as base64 in chunks.

Rules: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import bedrock_models, findings, walking
from computer_use_cache.formats.base import Json, UsageFlavor, dump, load_object, load_objects
from computer_use_cache.formats.bedrock import Bedrock
from computer_use_cache.formats.bedrock_models import METRICS
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.messages import Messages
from computer_use_cache.models import Event, Shape, Skip

_ENDINGS = frozenset({"stop_reason", "stopReason", "finish_reason", "finishReason", "completionReason"})
"""The member that says why a model stopped, as Anthropic, Meta, Mistral, Amazon, Cohere and AI21 spell it."""
_GUARDRAIL = "amazon-bedrock-guardrailAction"
"""Where a guardrail blocks a request, the model is not asked and has no reason to end."""
_KEPT_APART = re.compile(r"cohere\.command-(?:light-)?text")
"""Models whose two shapes cannot be converted into each other: each operation has entries of its own."""
_UNSPOKEN = _ENDINGS | {METRICS, "stop", "finish_reasons"}
"""Members that say nothing by themselves."""
_OWN_TYPES = frozenset({"application/json", "application/*", "*/*", "application/vnd.amazon.eventstream"})
"""The API's own media types: an `Accept` that names one of them asks for nothing else."""
_OLD_CLAUDE = re.compile(r"\.claude-(?:v\d|instant)")
"""Models from before the Messages API, which complete a prompt."""
_VECTORS = frozenset({"embedding", "embeddings", "embeddingsByType"})


class _Chunks(Bedrock):
    """The operations, and what their streams have in common."""

    operations = ("invoke", "invoke-with-response-stream")

    def split_stream(self, body: bytes, shape: Shape) -> list[Event]:
        return [Event("", _chunk(event)) for event in super().split_stream(body, shape)]

    def join_stream(self, events: Sequence[Event], shape: Shape) -> list[bytes]:
        chunks = [Event("chunk", dump({"bytes": base64.b64encode(event.data).decode()})) for event in events]
        return super().join_stream(chunks, shape)


class BedrockMessages(_Chunks, Messages):
    """Anthropic's models: a body is that of the Messages API, and so is an event."""

    name = "bedrock-messages"

    def match(self, path: str) -> str | None:
        model = super().match(path)
        is_claude = model and ("anthropic" in model or "claude" in model) and not _OLD_CLAUDE.search(model)
        return model if is_claude else None


class BedrockInvoke(_Chunks):
    """All other models, whose shapes `bedrock_models` converts where it can.

    An answer may be an embedding or a picture, so no value in it is ever replaced.
    """

    name = "bedrock-invoke"
    key_excluded = frozenset({"cache_control", "metadata"})
    answers_in_text = False
    image_places = ("messages/*/content/*/image/source/bytes", "messages/*/content/*/source/data")
    usage_flavor = UsageFlavor("aws", "default")

    def match(self, path: str) -> str | None:
        """The model, and the operation where an answer has only the shape of its recording."""
        model = super().match(path)
        return f"{model} {path.rpartition('/')[2]}" if model and _KEPT_APART.search(model) else model

    def model(self, body: Json, resource: str) -> str:
        return super().model(body, resource.partition(" ")[0])

    def wanted_type(self, headers: Mapping[str, str]) -> str:
        """A model that draws can be asked for the bare picture instead of JSON."""
        wanted = headers.get("x-amzn-bedrock-accept") or headers.get("accept", "")
        types = {item.partition(";")[0].strip().lower() for item in wanted.split(",")} - {""}
        return "" if types & _OWN_TYPES else ",".join(sorted(types))

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        return _findings([answer])

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        payloads = load_objects(events)
        for payload in payloads:
            findings.refuse_error(payload, "stream")
        is_finished = bool(payloads) and METRICS in payloads[-1]
        is_blocked = bool(payloads) and payloads[-1].get(_GUARDRAIL) == "INTERVENED"
        if not is_finished and not (ended and (is_blocked or any(map(_endings, payloads)))):
            raise FormatError("the model never finished", Skip.UNFINISHED)
        return _findings(payloads)

    def assemble(self, events: Sequence[Event]) -> Json:
        return bedrock_models.assemble(load_objects(events))

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        return [Event("", dump(payload)) for payload in bedrock_models.explode(answer)]


def _chunk(event: Event) -> bytes:
    match event.name, load_object(event.data):
        case "chunk", {"bytes": str(text)}:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error:
                pass
    raise FormatError(f"the event {event.name!r} is not a chunk of base64")


def _findings(payloads: Sequence[Json]) -> Findings:
    words = [word for payload in payloads for word in _endings(payload)]
    is_silent = not any(map(_says, payloads))
    return Findings(is_silent, frozenset(findings.endings(words)))


def _says(payload: Json) -> bool:
    return not _VECTORS.isdisjoint(payload) or findings.says(walking.without_members(payload, _UNSPOKEN))


def _endings(payload: Json) -> list[str]:
    return list(_words(payload))


def _words(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for name, member in value.items():
                if name in _ENDINGS and isinstance(member, str) and member:
                    yield member
                else:
                    yield from _words(member)
        case list():
            for item in value:
                yield from _words(item)
