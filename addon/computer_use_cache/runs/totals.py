"""What the calls of a run add up to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """`hits` are all calls that the store answered, `misses` those that went upstream and might have been answered.
    Money is in US dollars, as far as prices are known: if one is not, `priced` is False. `seconds_saved` is what was
    not waited for."""

    calls: int = 0
    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    bypasses: int = 0
    refusals: int = 0
    saved_usd: float = 0.0
    spent_usd: float = 0.0
    saved_tokens: int = 0
    spent_tokens: int = 0
    seconds_saved: float = 0.0
    priced: bool = True


def totals(calls: Iterable[Call]) -> Totals:
    """The totals of these calls."""
    sums: dict[str, float] = dict.fromkeys(Totals.__struct_fields__, 0)
    priced = True
    for call in calls:
        cost, is_saved = call.cost, saves(call)
        book = "saved" if is_saved else "spent"
        sums["calls"] += 1
        sums[_counted_as(call.outcome)] += 1
        sums[f"{book}_usd"] += cost.usd or 0.0
        sums[f"{book}_tokens"] += cost.input_tokens + cost.output_tokens
        sums["seconds_saved"] += cost.seconds if is_saved else 0.0
        priced = priced and cost.usd is not None
    return msgspec.convert(sums | {"priced": priced}, Totals, strict=False)


def saves(call: Call) -> bool:
    """Whether the cost of a call was saved, not spent."""
    return call.outcome in (Outcome.HIT, Outcome.STALE, Outcome.COALESCED)


def _counted_as(outcome: Outcome) -> str:
    match outcome:
        case Outcome.HIT | Outcome.STALE:
            return "hits"
        case Outcome.MISS:
            return "misses"
        case Outcome.COALESCED:
            return "coalesced"
        case Outcome.BYPASS:
            return "bypasses"
        case Outcome.REFUSED:
            return "refusals"
        case _:
            assert_never(outcome)
