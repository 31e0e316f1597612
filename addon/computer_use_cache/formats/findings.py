"""What all formats share in judging an answer: what its finish reason means, and whether it says anything.

Gateways pass on the finish reasons of one API in another, so one table serves all. A reason that is not in it counts as
a good ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from computer_use_cache.errors import FormatError
from computer_use_cache.models import Ending, Skip

FAILED = frozenset(
    (
        *("error", "failed", "failure", "aborted", "abort", "cancelled", "canceled", "timeout", "other"),
        *("network_error", "insufficient_system_resource", "engine_overloaded", "overloaded", "overloaded_error"),
        *("resource_exhausted", "resource_limit", "rate_limit", "rate_limit_exceeded", "error_limit"),
        *(
            "upstream_error",
            "provider_error",
            "gateway_error",
            "server_error",
            "internal_error",
            "internal_server_error",
        ),
        *("client_error", "api_error", "connection_error", "timeout_error", "model_error"),
        *("malformed_function_call", "malformed_tool_call", "malformed_response", "malformed_model_output"),
        *("malformed_tool_use", "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature"),
        *("no_image", "image_other"),
    )
)
"""Finish reasons that mean failure, in lower case: OpenRouter (`error`, and its providers' own words beside it), Z.ai
(`network_error`), DeepSeek (`insufficient_system_resource`), vLLM and SGLang (`abort`), Gemini, Bedrock, Cohere."""

ENDINGS: Mapping[str, Ending] = {
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "model_length", "max_length", "model_context_window_exceeded"),
        Ending.LENGTH,
    ),
    **dict.fromkeys(
        (
            *("content_filter", "content_filtered", "sensitive", "safety", "recitation", "language", "blocklist"),
            *("prohibited_content", "spii", "image_safety", "image_prohibited_content", "image_recitation"),
            *("guardrail_intervened", "error_toxic", "model_armor"),
        ),
        Ending.CONTENT_FILTER,
    ),
    "refusal": Ending.REFUSAL,
}
"""Finish reasons that CACHE_SKIP can name, in lower case."""

_LABELS = frozenset({"type", "id", "index", "role", "object", "format", "status", "mimeType", "mime_type"})
"""Members that say nothing by themselves."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a good answer. It is silent without any text, call, reasoning, refusal, sound or other item."""

    is_silent: bool = False
    endings: frozenset[Ending] = frozenset()


def of_message(stop_reason: Any, *, is_silent: bool) -> Findings:
    """The findings in a message that ended with this reason, as Anthropic's and Bedrock's do. Raises FormatError if it
    has none, or one that means failure."""
    if not stop_reason:
        raise FormatError("the message never got a stop reason", Skip.UNFINISHED)
    return Findings(is_silent, frozenset(endings((stop_reason,))))


def endings(words: Iterable[Any]) -> Iterable[Ending]:
    """The endings that CACHE_SKIP can name among finish reasons; raises FormatError for one that means failure."""
    for word in words:
        if not isinstance(word, str):
            continue
        plain = word.lower().replace("-", "_")
        if plain in FAILED:
            raise FormatError(f"the finish reason is {word!r}", Skip.FAILED)
        if plain in ENDINGS:
            yield ENDINGS[plain]


def refuse_error(owner: Mapping[str, Any], where: str) -> None:
    """Raise FormatError if an object holds an error; `where` names the object for the message."""
    if owner.get("error"):
        raise FormatError(f"there is an error in the {where}", Skip.ERROR)


def says(value: Any) -> bool:
    """True if a part of an answer holds anything but white space and labels."""
    pending = [value]
    while pending:
        match pending.pop():
            case str() as text if text.strip():
                return True
            case list() as items:
                pending.extend(items)
            case dict() as members:
                pending.extend(member for name, member in members.items() if name not in _LABELS)
    return False
