"""Do providers still answer as they did? A stored request, to be asked again, and what of two answers must agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from computer_use_cache import formats
from computer_use_cache.cache.policy import judge_answer
from computer_use_cache.diagnosis.near_miss import Difference, differences
from computer_use_cache.diagnosis.request_record import bytes_with_media
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json, load_object
from computer_use_cache.models import Entry, RequestRecord, Response, Shape, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import RequestLog

_VOLATILE = frozenset(
    {
        *("id", "call_id", "tool_call_id", "responseId", "request_id", "previous_response_id", "item_id"),
        *("created", "created_at", "completed_at", "createTime", "expires_at"),
        *("usage", "usageMetadata", "timings", "x_groq"),
        *("system_fingerprint", "service_tier", "provider", "modelVersion", "signature", "encrypted_content"),
    }
)
"""Fields that are another at every call; what an answer says is in the others."""


@dataclass(frozen=True, slots=True)
class Question:
    """A stored request as it can be asked again: where, with which headers (the credential is one) and body."""

    entry: Entry
    url: str
    headers: dict[str, str]
    body: bytes


def question(store: RequestLog, entry: Entry, settings: Settings) -> Question | Skipped:
    """The question to ask again for an entry; Skipped where that is not possible. Blocks; raises StoreError.

    The key goes to the configured upstream only, so entries of another one are skipped.
    """
    record = store.request(entry.key)
    if record is None:
        return Skipped("its request is not known")
    if not record.upstream.startswith(settings.upstream_base_url.origin):
        return Skipped("it was recorded from another upstream")
    body = bytes_with_media(record.body, store.media)
    if body is None:
        return Skipped("its pictures are not kept")
    query = f"?{record.query}" if record.query else ""
    return Question(entry, record.upstream + record.path + query, _headers(entry, record, settings), body)


def _headers(entry: Entry, record: RequestRecord, settings: Settings) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept-encoding": "identity"} | dict(record.headers)
    if settings.upstream_api_key:
        carrier = formats.by_name(entry.format).credential_header
        scheme = "Bearer " if carrier == "authorization" else ""
        headers[carrier] = scheme + settings.upstream_api_key
    return headers


def changed(asked: Question, answer: Response, settings: Settings) -> Difference | Skipped | None:
    """Where an answer that came just now first differs from the recorded one, None where both say the same; Skipped
    for one that would not be stored."""
    format = formats.by_name(asked.entry.format)
    wanted = asked.entry.shape if asked.entry.shape is not Shape.SSE else Shape.ARRAY
    shape = judge_answer(format, answer, wanted, settings)
    if isinstance(shape, Skipped):
        return shape
    try:
        now, recorded = (
            _said(asked.entry.format, *one) for one in ((answer.body, shape), (asked.entry.body, asked.entry.shape))
        )
    except FormatError as error:
        return Skipped(str(error))
    return next(differences(now, recorded), None)


def _said(format_name: str, body: bytes, shape: Shape) -> Json:
    format = formats.by_name(format_name)
    answer = load_object(body) if shape is Shape.JSON else format.assemble(format.split_stream(body, shape))
    said: Json = _without_volatile(answer)
    return said


def _without_volatile(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_volatile(item) for name, item in value.items() if name not in _VOLATILE}
        case list():
            return [_without_volatile(item) for item in value]
    return value
