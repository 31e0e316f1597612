"""Judges a complete answer and stores it, in the thread that writes or in the storing process (storing_process.py).
Importers use the same `Cache.judge`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from computer_use_cache.cache.batches import total
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.rebound import with_template
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Study
from computer_use_cache.errors import StoreError
from computer_use_cache.exchange.decisions import Stored, Updated
from computer_use_cache.flights.flight import Landing, Released
from computer_use_cache.models import Cost, Entry, Response, Skip, Skipped
from computer_use_cache.runs import lines
from computer_use_cache.runs.steps import items_of


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an answer, what its followers get, and what it cost. `did` is what the model did in it, "" if it
    is not stored or this was not asked for. `error` is why something could not be written."""

    kept: Stored | Updated | Skipped
    landing: Landing
    cost: Cost
    did: str = ""
    error: StoreError | None = None


def keep(
    cache: Cache,
    plan: Plan,
    response: Response,
    *,
    study: Study | None = None,
    parts: Sequence[Entry] = (),
    now: float,
    summarizes: bool = False,
) -> Recorded:
    """Store an answer that arrived at `now`, if it may be stored, and with it the `parts` of a batch. `study` is
    None if it was put off. If it `summarizes`, what the model did is told too."""
    plan = with_template(cache, plan)
    study = study or near_miss.recorded(cache, plan)
    judged = cache.judge_and_read(plan, response, now)
    if isinstance(judged, Skipped):
        recorded = Recorded(judged, landing_alone(response), cache.cost(plan, response, now))
    else:
        recorded = _store(cache, judged.entry, study, parts, now)
        if summarizes and not isinstance(recorded.kept, Skipped):
            recorded = replace(recorded, did=lines.summarize(items_of(judged.answer)))
    if study.near:
        try:
            near_miss.log_miss(cache, plan, study.near, now)
        except StoreError as error:
            recorded = replace(recorded, error=error)
    return replace(recorded, cost=total(part.cost for part in parts)) if parts else recorded


def landing_alone(response: Response) -> Landing:
    """What the followers of an answer get that is not stored: the answer itself if it is an error."""
    return response if response.status >= 400 else Released.ALONE


def _store(cache: Cache, entry: Entry, study: Study, parts: Sequence[Entry], now: float) -> Recorded:
    try:
        replaced = cache.keep(entry, now, study.record)
        if entry.offline_only:
            return Recorded(Skipped(Skip.SILENT, Skip.SILENT), entry, entry.cost)
        for part in parts:
            cache.keep(part, now)
    except StoreError as error:
        return Recorded(Skipped(Skip.STORE, Skip.STORE), entry, entry.cost, error=error)
    return Recorded(Updated(entry) if replaced else Stored(entry), entry, entry.cost)
