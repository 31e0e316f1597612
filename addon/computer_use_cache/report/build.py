"""A page from the calls of one run, or of two beside each other."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from computer_use_cache.diagnosis import miss_log
from computer_use_cache.report import compare, views
from computer_use_cache.report.album import Album
from computer_use_cache.report.compare import Comparer
from computer_use_cache.report.redaction import Redactor
from computer_use_cache.report.steps import StepViews
from computer_use_cache.report.views import Comparison, Page, Row
from computer_use_cache.run_models import Call, Run
from computer_use_cache.runs import comparison, steps
from computer_use_cache.runs.steps import Step
from computer_use_cache.runs.totals import totals
from computer_use_cache.screens.approval import Approval
from computer_use_cache.screens.masks import Mask
from computer_use_cache.store.base import Store
from computer_use_cache.units import counted, dollars, duration


def build(
    store: Store,
    runs: Sequence[Run],
    *,
    redact: Sequence[re.Pattern[str]] = (),
    with_media: bool = True,
    masks: Sequence[Mask] = (),
) -> Page:
    """The page of one or two runs. Texts that match a pattern in `redact` are replaced. Blocks; raises StoreError."""
    album, redactor, screens = Album(store.media, with_media=with_media), Redactor(redact), Approval(masks)
    comparer = Comparer(album, screens, store.media)
    shown = StepViews(store, album, comparer, redactor, _cures(store, runs))
    calls = [store.run_log.calls(run.id) for run in runs]
    loaded: list[Iterable[Step]] = [steps.load(store, each) for each in calls]
    diverges_at = 0
    if len(runs) > 1:
        left, right = loaded = [list(each) for each in loaded]
        divergence = comparison.first_divergence(left, right, screens, store.media)
        diverges_at = divergence.number if divergence else 0
    rows = tuple(
        Row(
            number,
            tuple(shown.view(step) if step else None for step in row),
            _difference(comparer, redactor, *row) if len(row) > 1 else None,
        )
        for number, row in enumerate(zip_longest(*loaded), 1)
    )
    heads = tuple(_head(run, each, redactor) for run, each in zip(runs, calls, strict=True))
    return Page(heads, rows, album.media, diverges_at)


def _cures(store: Store, runs: Sequence[Run]) -> dict[str, str]:
    """The settings, such as `CACHE_REBIND=on`, that would have made near misses hits, by the key of the miss."""
    found = miss_log.near_misses(store, min(run.began for run in runs))
    return {miss["key"]: " ".join(f"{name}={text}" for name, text in miss["settings"].items()) for miss in found}


def _difference(comparer: Comparer, redactor: Redactor, left: Step | None, right: Step | None) -> Comparison | None:
    """How two runs differ in what is new in a step and in its answer."""
    if left is None or right is None:
        return None
    sides = [redactor.items((*step.delta.added, *(new for _, new in step.delta.changed))) for step in (left, right)]
    answers = [redactor.items(step.answer) for step in (left, right)]
    pairs = [*compare.pairs(*sides), *compare.pairs(*answers)]
    return comparer.compared("Where the runs differ", ("A", "B"), pairs)


def _head(run: Run, calls: Sequence[Call], redactor: Redactor) -> views.Run:
    began = time.localtime(run.began)
    facts = [
        run.id,
        f"{began.tm_mday} {time.strftime('%B %Y, %H:%M', began)}",
        f"took {duration(run.ended - run.began)}",
    ]
    if run.status is not None:
        facts.append(f"exit status {run.status}")
    if run.folder:
        facts.append(run.folder)
    if run.origin:
        facts.append(run.origin)
    return views.Run(run.id, redactor.text(run.name), tuple(map(redactor.text, facts)), tuple(_totals(calls)))


def _totals(calls: Sequence[Call]) -> Iterator[tuple[str, str, str]]:
    sums = totals(calls)
    answered = sums.hits + sums.coalesced
    yield "Calls", str(sums.calls), ""
    yield "Hits", str(answered), f"{answered / sums.calls:.0%}" if calls else ""
    known = "" if sums.priced else ", not all prices known"
    yield "Saved", dollars(sums.saved_usd), counted(sums.saved_tokens, "token", "tokens")
    yield "Spent", dollars(sums.spent_usd), f"{counted(sums.spent_tokens, 'token', 'tokens')}{known}"
    yield "Time saved", duration(sums.seconds_saved), ""
