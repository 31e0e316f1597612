"""Turns a request's result into the call that its run keeps."""

from __future__ import annotations

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.result import Result, Storing
from computer_use_cache.models import NOTHING, Cost, Skip, Skipped
from computer_use_cache.run_models import Call


def call_of(result: Result, plan: Plan, spent: Cost, began: float, now: float) -> Call:
    """The call of a planned request that began and ended at these times (Unix seconds). `spent` is the cost of its own
    upstream call."""
    skipped = result.storing if isinstance(result.storing, Skipped) else None
    return Call(
        at=began,
        outcome=result.outcome,
        format=plan.format.name,
        path=plan.route.request.path,
        model=result.model,
        key=result.key if _is_stored(result) else "",
        asked=plan.key,
        seconds=max(now - began, 0.0),
        status=200 if result.status is None else result.status,
        cost=(result.saved or NOTHING) if result.outcome.saves else spent,
        reason=str(result.bypass or result.error or (skipped.detail if skipped else "")),
        near_key=result.near.key if result.near else "",
        near_place=str(result.near.differences[0]) if result.near else "",
        rebound=sum(number for _, number in result.rebound),
    )


def _is_stored(result: Result) -> bool:
    """Whether the store has the answer under the result's key."""
    match result.storing:
        case Storing.STORED | Storing.UPDATED:
            return True
        case Skipped(reason=reason):
            return reason is Skip.SILENT
    return result.outcome.saves
