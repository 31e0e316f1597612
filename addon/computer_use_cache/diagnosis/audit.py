"""Do providers still answer as they did? A stored request, to be asked again, and what of two answers must agree."""

from __future__ import annotations

from dataclasses import dataclass

from computer_use_cache import formats
from computer_use_cache.cache.policy import judge_answer
from computer_use_cache.diagnosis.near_miss import Difference, differences
from computer_use_cache.diagnosis.request_record import bytes_with_media
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import walking
from computer_use_cache.formats.base import Format, Json, load_object
from computer_use_cache.models import Entry, RequestRecord, Response, Shape, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store


@dataclass(frozen=True, slots=True)
class Question:
    """A stored request as it can be asked again: where, with which headers (the credential is one) and body."""

    entry: Entry
    url: str
    headers: dict[str, str]
    body: bytes


def question(store: Store, entry: Entry, settings: Settings) -> Question | Skipped:
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
    verdict = judge_answer(format, answer, wanted, settings)
    if isinstance(verdict, Skipped):
        return verdict
    try:
        now = _said(format, answer.body, verdict.shape)
        recorded = _said(format, asked.entry.body, asked.entry.shape)
    except FormatError as error:
        return Skipped(str(error))
    return next(differences(now, recorded), None)


def _said(format: Format, body: bytes, shape: Shape) -> Json:
    answer = load_object(body) if shape is Shape.JSON else format.assemble(format.split_stream(body, shape))
    said: Json = walking.without_members(answer, format.volatile_members)
    return said
