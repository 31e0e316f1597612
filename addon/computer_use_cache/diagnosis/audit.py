"""Checks whether a provider still gives the recorded answers: rebuilds stored requests and compares answers."""

from __future__ import annotations

from dataclasses import dataclass

from computer_use_cache import formats
from computer_use_cache.cache.judging import judge_answer
from computer_use_cache.diagnosis.cures import answer_of
from computer_use_cache.diagnosis.differences import Difference, differences
from computer_use_cache.diagnosis.request_record import bytes_with_media
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import walking
from computer_use_cache.models import Entry, RequestRecord, Response, Shape, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import RequestLog


@dataclass(frozen=True, slots=True)
class Question:
    """A stored request that can be sent again. `headers` include the operator's credential."""

    entry: Entry
    url: str
    headers: dict[str, str]
    body: bytes


def question(store: RequestLog, entry: Entry, settings: Settings) -> Question | Skipped:
    """The request to repeat for an entry, or Skipped if that is impossible. Blocks; raises StoreError.

    Entries of other upstreams are skipped, because the credential belongs to the configured one.
    """
    record = store.request(entry.key)
    if record is None:
        return Skipped("its request is not stored")
    if not record.upstream.startswith(settings.upstream_base_url.origin):
        return Skipped("it was recorded from another upstream")
    body = bytes_with_media(record.body, store.media)
    if body is None:
        return Skipped("its pictures are no longer stored")
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
    """The first difference between a new answer and the recorded one.

    None if they say the same, Skipped if the new answer would not be stored.
    """
    format = formats.by_name(asked.entry.format)
    wanted = asked.entry.shape if asked.entry.shape is not Shape.SSE else Shape.ARRAY
    verdict = judge_answer(format, answer, wanted, settings)
    if isinstance(verdict, Skipped):
        return verdict
    try:
        now = answer_of(asked.entry.format, answer.body, verdict.shape)
        recorded = answer_of(asked.entry.format, asked.entry.body, asked.entry.shape)
    except FormatError as error:
        return Skipped(str(error))
    said = (walking.without_members(one, format.volatile_members) for one in (now, recorded))
    return next(differences(*said), None)
