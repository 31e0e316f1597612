"""Judges the answers of upstreams: whether one may be stored, and the entry to store. Every refusal has a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from computer_use_cache.accounting import prices
from computer_use_cache.cache.concealing import concealed_answer
from computer_use_cache.cache.plan import Plan
from computer_use_cache.credentials import detection
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import KEPT_HEADERS, aws_events, expiry
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Format, load_object
from computer_use_cache.models import Bypass, Entry, Response, Shape, Skip, Skipped
from computer_use_cache.rebinding import Refusal
from computer_use_cache.setting_values import Scope
from computer_use_cache.settings import Settings


@dataclass(frozen=True, slots=True)
class Judged:
    """The entry of an answer that may be stored, and the answer as it is stored."""

    entry: Entry
    answer: Answer


def judge(plan: Plan, response: Response, settings: Settings, now: float) -> Judged | Skipped:
    """The entry for an upstream's complete answer, received at `now`, or why it must not be stored."""
    if isinstance(plan.verdict, Bypass):
        return Skipped(str(plan.verdict), Skip.FORBIDDEN)
    if plan.verdict.write_ban:
        return Skipped(f"{plan.verdict.write_ban} forbids storing", Skip.FORBIDDEN)
    verdict = judge_answer(plan.format, response, plan.shape, settings)
    if isinstance(verdict, Skipped):
        return verdict
    answer = _concealed(plan, verdict.answer)
    if isinstance(answer, Skipped):
        return answer
    if detection.find_in_text(f"{plan.model} {plan.verdict.namespace}"):
        return Skipped(f"{Skip.CREDENTIAL}: the name of the model or the namespace looks like one", Skip.CREDENTIAL)
    usable_until = verdict.usable_until
    if usable_until is not None and usable_until <= now:
        return Skipped(Skip.EXPIRED, Skip.EXPIRED)
    ttl = settings.ttl_seconds if plan.verdict.ttl is None else plan.verdict.ttl
    is_json = answer.shape is Shape.JSON
    entry = Entry(
        key=plan.key,
        format=plan.format.name,
        shape=answer.shape,
        model=plan.model,
        namespace=plan.verdict.namespace,
        headers=tuple(item for item in sorted(response.headers.items()) if item[0] in KEPT_HEADERS),
        body=answer.body,
        created_at=now,
        expires_at=_earliest((now + ttl if ttl else None, usable_until)),
        seconds=response.seconds,
        with_usage=plan.with_usage,
        chunks=response.chunks if answer is verdict.answer else (),
        offline_only=verdict.offline_only,
        usable_until=usable_until,
        asked_form=plan.format.unasked_form(response.body, plan.body) if is_json else "",
        template=plan.template.digest if plan.template else "",
        bindings=plan.template.bindings if plan.template else b"",
    )
    cost = prices.cost_of(verdict.answer, plan.upstream, plan.model, seconds=response.seconds, now=now)
    return Judged(entry.costing(cost), answer)


def _concealed(plan: Plan, answer: Answer) -> Answer | Skipped:
    """The answer as it is stored, without credentials, or why they cannot be taken out."""
    try:
        concealed = concealed_answer(plan, answer)
    except FormatError as error:
        return Skipped(str(error), error.reason)
    return Skipped(f"{Skip.CREDENTIAL}: {concealed}", Skip.CREDENTIAL) if isinstance(concealed, Refusal) else concealed


def is_failure(status: int) -> bool:
    """Whether this status means that the upstream is failing, and a stale entry is better than its answer."""
    return status == 429 or status >= 500


_STREAMS = {
    "text/event-stream": Shape.SSE,
    aws_events.CONTENT_TYPE: Shape.AWS,
    "application/x-ndjson": Shape.LINES,
    "application/ndjson": Shape.LINES,
    "application/stream+json": Shape.LINES,
}
_RAW = re.compile(r"(audio|video)/.+|application/(octet-stream|x-subrip)|text/(plain|vtt|srt)")
"""Content types of sound and of subtitles."""
_JSON = ("application/json", "text/json", "text/plain")
"""Content types that servers send with a JSON answer."""


@dataclass(frozen=True, slots=True)
class Storable:
    """The verdict that an answer may be stored. The other fields are as in `Entry`."""

    answer: Answer
    offline_only: bool = False
    usable_until: float | None = None


def judge_answer(format: Format, response: Response, wanted: Shape, settings: Settings) -> Storable | Skipped:
    """Whether an upstream's answer, which has arrived in full, may be stored."""
    if response.status != 200:
        return Skipped(_refusal(format, response, settings), Skip.STATUS)
    if len(response.body) > settings.max_response_chars:
        return Skipped(Skip.TOO_LARGE, Skip.TOO_LARGE)
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        return Skipped(Skip.CODING, Skip.CODING)
    length = response.headers.get("content-length")
    if length is not None and length != str(len(response.body)):
        return Skipped("the body's length is not what its header says", Skip.LENGTH)
    shape = shape_of(response.headers.get("content-type", ""), wanted)
    if shape is None:
        content_type = response.headers.get("content-type", "missing")
        return Skipped(f"content type is {content_type}", Skip.CONTENT_TYPE)
    try:
        return _judge_body(Answer(format, shape, response.body), settings, ended=response.ended)
    except FormatError as error:
        return Skipped(str(error), error.reason)


def _judge_body(answer: Answer, settings: Settings, *, ended: bool) -> Storable | Skipped:
    match answer.shape:
        case Shape.JSON:
            findings = answer.format.check_answer(answer.whole)
        case Shape.RAW:
            findings = answer.format.check_bytes(answer.body, ended=ended)
        case _:
            findings = answer.format.check_events(answer.joined, ended=ended)
    if chosen := findings.endings & settings.skip:
        return Skipped(f"CACHE_SKIP names {min(chosen)}", Skip.CHOSEN)
    return Storable(answer, findings.is_silent, _usable_until(answer))


def _usable_until(answer: Answer) -> float | None:
    if answer.shape is Shape.RAW or not expiry.may_expire(answer.searchable):
        return None
    if answer.shape is Shape.JSON:
        return expiry.earliest(answer.whole)
    pieces = (event.data for event in answer.events if expiry.may_expire(event.data))
    return _earliest(expiry.earliest(load_object(piece)) for piece in pieces)


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _refusal(format: Format, response: Response, settings: Settings) -> str:
    """Why an answer that is not a 200 is not stored. Callers who share entries may be replayed ids and encrypted items
    of another account, which the provider then refuses. If the answer hints at that, the reason says so."""
    status = f"status {response.status}"
    if response.status not in (400, 401, 403, 404) or settings.scope is Scope.CREDENTIAL:
        return status
    text = response.body.decode("utf-8", "replace")
    if not any(sign in text for sign in format.foreign_history):
        return status
    return f"{status}: the history may have been recorded under another key; CACHE_SCOPE=credential keeps them apart"


def shape_of(content_type: str, wanted: Shape) -> Shape | None:
    """The shape that a content type announces; None if no API sends it."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _STREAMS:
        return _STREAMS[kind]
    if wanted is Shape.RAW and _RAW.fullmatch(kind):
        return Shape.RAW
    if kind in _JSON or kind.endswith("+json"):
        return Shape.ARRAY if wanted is Shape.ARRAY else Shape.JSON
    return None
