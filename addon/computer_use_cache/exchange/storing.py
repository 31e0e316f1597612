"""Judges a complete answer and stores it. Runs in the thread that writes; importers use the same `Cache.judge`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from computer_use_cache.cache.batches import total
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.rebound import with_template
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Study
from computer_use_cache.errors import StoreError
from computer_use_cache.exchange.decisions import Stored, Updated
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.flights.flight import Landing, Released
from computer_use_cache.models import Cost, Entry, Response, Skip, Skipped

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an answer, what its followers get, and what it cost."""

    kept: Stored | Updated | Skipped
    landing: Landing
    cost: Cost


def keep(
    shared: Shared, plan: Plan, response: Response, *, study: Study | None, parts: Sequence[Entry], now: float
) -> Recorded:
    """Store an answer that arrived at `now`, if it may be stored, and with it the `parts` of a batch. `study` is
    None if it was put off."""
    plan = with_template(shared.cache, plan)
    study = study or near_miss.recorded(shared.cache, plan)
    judged = shared.cache.judge_and_read(plan, response, now)
    if isinstance(judged, Skipped):
        kept: Stored | Updated | Skipped = judged
        cost = shared.cache.cost(plan, response, now)
        landing: Landing = response if response.status >= 400 else Released.ALONE
    else:
        kept, cost, landing = _store(shared, judged.entry, study, parts, now), judged.entry.cost, judged.entry
        if not isinstance(kept, Skipped):
            shared.read_answer(judged)
    if study.near:
        try:
            near_miss.log_miss(shared.cache, plan, study.near, now)
        except StoreError as error:
            shared.storing.failed(error)
    return Recorded(kept, landing, total(part.cost for part in parts) if parts else cost)


def _store(
    shared: Shared, entry: Entry, study: Study, parts: Sequence[Entry], now: float
) -> Stored | Updated | Skipped:
    try:
        replaced = shared.cache.keep(entry, now, study.record)
        if entry.offline_only:
            return Skipped(Skip.SILENT, Skip.SILENT)
        for part in parts:
            shared.cache.keep(part, now)
    except StoreError as error:
        shared.storing.failed(error)
        return Skipped(Skip.STORE, Skip.STORE)
    shared.storing.worked()
    return Updated(entry) if replaced else Stored(entry)
