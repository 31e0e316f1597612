"""A page from the calls of one run, or of two beside each other."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from computer_use_cache.accounting.units import dollars, duration
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.report import compare, views
from computer_use_cache.report.album import Album
from computer_use_cache.report.cleaning import Cleaner
from computer_use_cache.report.compare import Comparer
from computer_use_cache.report.steps import StepViews
from computer_use_cache.report.views import Comparison, Page, Row
from computer_use_cache.run_models import Call, Run
from computer_use_cache.runs import steps
from computer_use_cache.runs.steps import Step
from computer_use_cache.runs.totals import totals
from computer_use_cache.screens.approval import Approval
from computer_use_cache.screens.masks import Mask
from computer_use_cache.store.base import Store


def build(
    store: Store,
    runs: Sequence[Run],
    *,
    redact: Sequence[re.Pattern[str]] = (),
    with_media: bool = True,
    masks: Sequence[Mask] = (),
) -> Page:
    """The page of one or two runs. Texts that match a pattern in `redact` are replaced. Blocks; raises StoreError."""
    album, cleaner = Album(store.media, with_media=with_media), Cleaner(redact)
    comparer = Comparer(album, Approval(masks), store.media)
    shown = StepViews(store, album, comparer, cleaner, _cures(store, runs))
    calls = [store.run_log.calls(run.id) for run in runs]
    rows = tuple(
        Row(
            number,
            tuple(shown.view(step) if step else None for step in row),
            _parting(comparer, cleaner, row) if len(runs) > 1 else None,
        )
        for number, row in enumerate(zip_longest(*(steps.load(store, each) for each in calls)), 1)
    )
    heads = tuple(_head(run, each, cleaner) for run, each in zip(runs, calls, strict=True))
    return Page(heads, rows, album.media)


def _cures(store: Store, runs: Sequence[Run]) -> dict[str, str]:
    """What would have made the runs' near misses hits, by key: `CACHE_REBIND=on`."""
    found = near_miss.misses(store, min(run.began for run in runs))
    return {miss["key"]: " ".join(f"{name}={text}" for name, text in miss["settings"].items()) for miss in found}


def _parting(comparer: Comparer, cleaner: Cleaner, row: Sequence[Step | None]) -> Comparison | None:
    """How two runs differ in what is new in this step and in its answer."""
    left, right = row
    if left is None or right is None:
        return None
    sides = [cleaner.items((*step.news.added, *(new for _, new in step.news.changed))) for step in (left, right)]
    answers = [cleaner.items(step.answer) for step in (left, right)]
    pairs = [*compare.pairs(*sides), *compare.pairs(*answers)]
    return comparer.compared("Where the runs differ", ("A", "B"), pairs)


def _head(run: Run, calls: Sequence[Call], cleaner: Cleaner) -> views.Run:
    facts = [
        run.id,
        time.strftime("%-d %B %Y, %H:%M", time.localtime(run.began)),
        f"took {duration(run.ended - run.began)}",
    ]
    if run.status is not None:
        facts.append(f"exit status {run.status}")
    if run.folder:
        facts.append(run.folder)
    if run.parent:
        facts.append(f"forked from {run.parent}")
    return views.Run(run.id, cleaner.text(run.name), tuple(map(cleaner.text, facts)), tuple(_totals(calls)))


def _totals(calls: Sequence[Call]) -> Iterator[tuple[str, str, str]]:
    sums = totals(calls)
    answered = sums.hits + sums.coalesced
    yield "Calls", str(sums.calls), ""
    yield "Hits", str(answered), f"{answered / sums.calls:.0%}" if calls else ""
    known = "" if sums.priced else ", not all prices known"
    yield "Saved", dollars(sums.saved_usd), f"{sums.saved_tokens:,} tokens"
    yield "Spent", dollars(sums.spent_usd), f"{sums.spent_tokens:,} tokens{known}"
    yield "Time saved", duration(sums.seconds_saved), ""
