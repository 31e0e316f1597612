"""Judges complete answers and stores them, in the thread that writes (storing_thread.py) or in the storing process
(storing_process.py). Importers use the same `Cache.judge`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from computer_use_cache.cache.batches import total
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.judging import Judged
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.rebound import with_template
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Study
from computer_use_cache.errors import StoreError
from computer_use_cache.exchange.decisions import Stored, Updated
from computer_use_cache.flights.flight import Landing, Released
from computer_use_cache.models import Cost, Entry, RequestRecord, Response, Skip, Skipped
from computer_use_cache.runs import lines
from computer_use_cache.runs.steps import items_of

NOT_WRITTEN = Skipped(Skip.STORE, Skip.STORE)
"""What becomes of an answer if the store fails."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """An answer that arrived in full at `now`. `study` is that of the miss, None if it was put off. `parts` are the
    entries of a batch's inputs. If it `is_summarized`, what the model did is told too."""

    plan: Plan
    response: Response
    now: float
    study: Study | None = None
    parts: Sequence[Entry] = ()
    is_summarized: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an answer, what its followers get, and what it cost. `did` is what the model did in it, None if it
    is not stored or not summarized. `error` is why something could not be written."""

    kept: Stored | Updated | Skipped
    landing: Landing
    cost: Cost
    did: str | None = None
    error: StoreError | None = None


@dataclass(frozen=True, slots=True)
class _Judgement:
    plan: Plan
    study: Study
    verdict: Judged | Skipped


def keep(cache: Cache, answers: Sequence[Arrived]) -> list[Recorded]:
    """Store answers that may be stored, at the cost of a few transactions. If that fails, all count as not stored."""
    judgements = [_judge(cache, answer) for answer in answers]
    entries = [entry for pair in zip(answers, judgements, strict=True) for entry in _entries(*pair)]
    replaced: Set[str] | StoreError = set[str]()
    try:
        if entries:
            replaced = cache.keep_all(entries, max(answer.now for answer in answers))
    except StoreError as error:
        replaced = error
    return [_recorded(cache, *pair, replaced) for pair in zip(answers, judgements, strict=True)]


def landing_alone(response: Response) -> Landing:
    """What the followers of an answer get that is not stored: the answer itself if it is an error."""
    return response if response.status >= 400 else Released.ALONE


def _judge(cache: Cache, answer: Arrived) -> _Judgement:
    plan = with_template(cache, answer.plan)
    study = answer.study or near_miss.recorded(cache, plan)
    return _Judgement(plan, study, cache.judge_and_read(plan, answer.response, answer.now))


def _entries(answer: Arrived, judgement: _Judgement) -> Iterator[tuple[Entry, RequestRecord | None]]:
    """The entries to store for an answer."""
    if isinstance(judgement.verdict, Judged):
        yield judgement.verdict.entry, judgement.study.record
        if not judgement.verdict.entry.offline_only:
            yield from ((part, None) for part in answer.parts)


def _recorded(cache: Cache, answer: Arrived, judgement: _Judgement, replaced: Set[str] | StoreError) -> Recorded:
    """What became of an answer, whose near miss is logged. `replaced` are the keys of entries that replaced others, or
    why nothing was stored."""
    verdict = judgement.verdict
    if isinstance(verdict, Skipped):
        cost = cache.cost(judgement.plan, answer.response, answer.now)
        recorded = Recorded(verdict, landing_alone(answer.response), cost)
    else:
        recorded = _of_entry(verdict, replaced)
        if answer.is_summarized and not isinstance(recorded.kept, Skipped):
            recorded = replace(recorded, did=lines.summarize(items_of(verdict.answer)))
    if judgement.study.near:
        try:
            near_miss.log_miss(cache, judgement.plan, judgement.study.near, answer.now)
        except StoreError as error:
            recorded = replace(recorded, error=recorded.error or error)
    return replace(recorded, cost=total(part.cost for part in answer.parts)) if answer.parts else recorded


def _of_entry(judged: Judged, replaced: Set[str] | StoreError) -> Recorded:
    entry = judged.entry
    if isinstance(replaced, StoreError):
        return Recorded(NOT_WRITTEN, entry, entry.cost, error=replaced)
    if entry.offline_only:
        return Recorded(Skipped(Skip.SILENT, Skip.SILENT), entry, entry.cost)
    return Recorded(Updated(entry) if entry.key in replaced else Stored(entry), entry, entry.cost)
