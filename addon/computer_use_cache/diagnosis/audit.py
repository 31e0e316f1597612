"""Checks whether a provider still gives the recorded answers: rebuilds stored requests and compares answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.judging import judge_answer
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis.cures import answer_of
from computer_use_cache.diagnosis.differences import Difference, differences
from computer_use_cache.diagnosis.request_record import bytes_with_media, record
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import walking
from computer_use_cache.models import Entry, Request, RequestRecord, Response, Shape, Skipped
from computer_use_cache.rebinding import Refusal
from computer_use_cache.run_models import Run
from computer_use_cache.screens.approval import INEXACT
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import RequestLog


@dataclass(frozen=True, slots=True)
class Question:
    """A stored request that can be sent again. `headers` include the operator's credential. `rules` are those by which
    its pictures count as the recorded ones, if it was answered by another request's entry."""

    entry: Entry
    url: str
    headers: dict[str, str]
    body: bytes
    rules: tuple[str, ...] = ()


def question(store: RequestLog, entry: Entry, settings: Settings) -> Question | Skipped:
    """The request to repeat for an entry, or Skipped if that is impossible. Blocks; raises StoreError.

    Entries of other upstreams are skipped, because the credential belongs to the configured one.
    """
    record = store.request(entry.key)
    if record is None:
        return Skipped("its request is not stored")
    if not record.upstream.startswith(settings.upstream_base_url.origin):
        return Skipped("it was recorded from another upstream")
    if formats.by_name(entry.format).takes_forms:
        return Skipped("its request was a form, with files whose names are not stored")
    body = bytes_with_media(record.body, store.media)
    if body is None:
        return Skipped("its pictures are no longer stored")
    query = f"?{record.query}" if record.query else ""
    return Question(entry, record.upstream + record.path + query, _headers(entry, record, settings), body)


def hit_record(cache: Cache, plan: Plan) -> RequestRecord:
    """The record of a hit on another request's entry, with its User-Agent, by which the profile is chosen. It has no
    parts, so it is never found as a near miss. Slow: call it off the event loop. Raises FormatError."""
    headers = plan.route.request.headers
    named = tuple((name, headers[name]) for name in ("user-agent",) if name in headers)
    found = record(cache, plan)
    return dataclasses.replace(found, headers=found.headers + named, parts=())


def inexact_hits(cache: Cache, run: Run) -> Iterator[Question | Skipped]:
    """The hits of a run on entries that were recorded for other pixels, with the answers that were served. Blocks;
    raises StoreError."""
    for call in cache.store.run_log.calls(run.id):
        if call.rebound and call.asked != call.key:
            asked, entry = cache.store.request(call.asked), cache.store.get(call.key)
            if asked and entry:
                yield _served(cache, call.asked, asked, entry)


def _served(cache: Cache, key: str, asked: RequestRecord, entry: Entry) -> Question | Skipped:
    body = bytes_with_media(asked.body, cache.store.media)
    if body is None:
        return Skipped("its pictures are no longer stored")
    query = tuple(parse_qsl(asked.query, keep_blank_values=True))
    plan = rebound.prepare(cache, cache.plan(Request(asked.upstream, asked.path, query, dict(asked.headers), body)))
    if plan.template is None or plan.template.digest != entry.template:
        return Skipped("it is another question under the current settings")
    answer = rebound.approved(cache, plan, entry)
    if isinstance(answer, Refusal):
        return Skipped(f"it would not be a hit now: {answer}")
    served = replace(entry, key=key, body=b"".join(answer.pieces), shape=plan.shape)
    found = question(cache.store, served, cache.settings)
    rules = tuple(str(rule) for rule in INEXACT if rule in answer.counts)
    return found if isinstance(found, Skipped) else dataclasses.replace(found, rules=rules)


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
        now = verdict.answer.whole
        recorded = answer_of(asked.entry.format, asked.entry.body, asked.entry.shape)
    except FormatError as error:
        return Skipped(str(error))
    said = (walking.without_members(one, format.volatile_members) for one in (now, recorded))
    return next(differences(*said), None)
