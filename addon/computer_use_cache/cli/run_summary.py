"""What `run` says at its end: what was hit and saved, why the rest was not, and the settings that would have helped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.accounting.statistics import Statistics
from computer_use_cache.cli import unseen
from computer_use_cache.diagnosis import miss_log
from computer_use_cache.errors import CacheError
from computer_use_cache.formats.base import Json
from computer_use_cache.run_models import Run
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.store.opening import open_store
from computer_use_cache.units import counted, dollars

_MOST_GROUPS = 4
_MOST_LINES = 7
"""A summary must be short enough to read; `explain --summary` has the rest."""
_NO_CALL = (
    "no model call was seen: a program that ignores HTTPS_PROXY needs `run --base-url`, one that ignores "
    "OPENAI_BASE_URL too needs mitmproxy's `--mode local:`"
)
_WRITE = "computer-use-cache explain --summary --write"


@dataclass(frozen=True, slots=True)
class State:
    """The store at one time: its statistics, and the causes of the near misses logged since then. If the store cannot
    be read or written there are no statistics, and `fault` says why."""

    statistics: Statistics | None = None
    groups: list[Json] = field(default_factory=list)
    fault: str = ""


def take(settings: Settings, run: Run) -> State:
    """Store what is known about a run, and return the state of the store now, with the causes of the misses logged
    since the run began."""
    try:
        with contextlib.closing(open_store(settings)) as store:
            store.run_log.add_run(run)
            return State(Ledger(store).statistics(settings, run.began), _groups(settings, store, run.began))
    except CacheError as error:
        return State(fault=str(error))


def _groups(settings: Settings, store: Store, since: float) -> list[Json]:
    """The near misses logged since this time (Unix seconds), by their causes."""
    misses = miss_log.near_misses(store, since)
    if not misses:
        return []
    from computer_use_cache.diagnosis import causes  # noqa: PLC0415  # takes a tenth of a second

    return causes.grouped(causes.for_all(misses, store, settings.image_mask))


def lines(before: State, after: State, run: Run) -> Iterator[str]:
    """What happened during a run, as the difference of two states of the store, which other proxies may share: the
    totals, the causes of misses, what to do if the program's calls never came here, and how to see the calls."""
    if before.statistics is None or after.statistics is None:
        yield f"computer-use-cache: nothing was counted: {before.fault or after.fault}; see `computer-use-cache doctor`"
        return
    yield f"computer-use-cache: {_totals(before.statistics, after.statistics)}"
    near = sum(group["misses"] for group in after.groups)
    found = [*_near(after.groups), *_others(before.statistics, after.statistics, near)]
    yield from (f"  {line}" for line in found[:_MOST_LINES])
    passed = unseen.since(before.statistics.unseen, after.statistics.unseen)
    yield from (f"  {line}" for line in unseen.lines(passed))
    if _requests(before.statistics) == _requests(after.statistics) and not any(one.route for one in passed):
        yield f"  {_NO_CALL}"
    if any(group["settings"] for group in after.groups):
        yield f"  To put what helps into .env: {_WRITE}"
    if _requests(before.statistics) != _requests(after.statistics):
        yield f"  To see each call: computer-use-cache show {run.id}"


def _totals(before: Statistics, after: Statistics) -> str:
    rebound = after.rebound_hits - before.rebound_hits
    hits = counted(after.hits - before.hits, "hit", "hits") + (f" ({rebound} rebound)" if rebound else "")
    bypassed = sum(after.bypasses.values()) - sum(before.bypasses.values())
    rare = {
        "stale": after.stale - before.stale,
        "coalesced": after.coalesced - before.coalesced,
        "refused": after.refusals - before.refusals,
    }
    text = f"{hits}, {_misses(after.misses - before.misses)}, {bypassed:,} bypassed"
    text += "".join(f", {number:,} {outcome}" for outcome, number in rare.items() if number)
    saved = _saved(after) - _saved(before)
    return f"{text}, saved {dollars(saved)}" if saved else text


def _requests(counted: Statistics) -> int:
    """All requests: each has one outcome."""
    answered = counted.hits + counted.misses + counted.stale + counted.coalesced
    return answered + counted.refusals + sum(counted.bypasses.values())


def _saved(counted: Statistics) -> float:
    """US dollars."""
    return sum((model.saved.usd or 0.0 for model in counted.models.values()), 0.0)


def _near(groups: list[Json]) -> Iterator[str]:
    if not groups:
        return
    from computer_use_cache.cli import settings_file  # noqa: PLC0415  # as for `causes`

    for group in groups[:_MOST_GROUPS]:
        cure = settings_file.assignments(group["settings"])
        remedy = f"a hit with {cure}" if cure else group["uncured"]
        pictures = f"{group['pictures']}: " if group["pictures"] else ""
        yield f"{_near_misses(group['misses'])} at {group['path']}: {pictures}{remedy}"
    if left := sum(group["misses"] for group in groups[_MOST_GROUPS:]):
        yield f"{_near_misses(left)} elsewhere: see computer-use-cache explain --summary"


def _others(before: Statistics, after: Statistics, near: int) -> Iterator[str]:
    """The misses without a near request (unless the store was empty before), bypasses, and answers that were not
    stored."""
    new = after.misses - before.misses - near
    if before.entries and new > 0:
        yield f"{_misses(new)}: nothing similar was recorded"
    for reason, number in _more(before.bypasses, after.bypasses):
        yield f"{number} bypassed: {reason}"
    for reason, number in _more(before.skips, after.skips):
        yield f"{counted(number, 'answer', 'answers')} not stored: {reason}"


def _more(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for reason, number in after.items():
        if more := number - before.get(reason, 0):
            yield reason, more


def _near_misses(number: int) -> str:
    return counted(number, "near miss", "near misses")


def _misses(number: int) -> str:
    return counted(number, "miss", "misses")
