"""The call that a run keeps of a request, made from the request's report."""

from __future__ import annotations

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.report import Report, Storing
from computer_use_cache.models import NOTHING, Cost, Outcome, Skip, Skipped
from computer_use_cache.run_models import Call

_ANSWERED_HERE = (Outcome.HIT, Outcome.STALE, Outcome.COALESCED)


def call_of(report: Report, plan: Plan, spent: Cost, began: float, now: float) -> Call:
    """The call of a planned request that began and ended at these times (Unix seconds). `spent` is the cost of its own
    upstream call."""
    skipped = report.storing if isinstance(report.storing, Skipped) else None
    return Call(
        at=began,
        outcome=report.outcome,
        format=plan.format.name,
        path=plan.route.request.path,
        model=report.model,
        key=report.key if _is_stored(report) else "",
        asked=plan.key,
        seconds=max(now - began, 0.0),
        status=200 if report.status is None else report.status,
        cost=(report.saved or NOTHING) if report.outcome in _ANSWERED_HERE else spent,
        reason=str(report.bypass or report.error or (skipped.detail if skipped else "")),
        near_key=report.near.key if report.near else "",
        near_place=str(report.near.differences[0]) if report.near else "",
        rebound=sum(number for _, number in report.rebound),
    )


def _is_stored(report: Report) -> bool:
    """Whether the store has the answer under the report's key."""
    match report.storing:
        case Storing.STORED | Storing.UPDATED:
            return True
        case Skipped(reason=reason):
            return reason is Skip.SILENT
    return report.outcome in _ANSWERED_HERE
