"""Gets the decision for a request without holding up the event loop: what takes long is decided in a thread."""

from __future__ import annotations

from computer_use_cache.cache.batches import Batch
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decide import Decided
from computer_use_cache.exchange.decisions import Forward, Postpone, Refuse
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.models import Absent


async def decide(shared: Shared, plan: Plan, batch: Batch | None) -> Decided:
    """The decision for a plan, once the answers that are being stored at this moment can be found."""
    unstored = shared.unstored.copy()
    decided = await _decide_now(shared, plan, batch)
    if isinstance(decided.decision, (Forward, Refuse)) and await unstored.awaited(decided.plan):
        return await _decide_now(shared, decided.plan, batch)
    return decided


async def _decide_now(shared: Shared, plan: Plan, batch: Batch | None) -> Decided:
    decider, now, landings = shared.decider, shared.run.now, shared.flights.landings
    at_once = Postpone.POSTPONE if batch else decider.decide_at_once(plan, now())
    if isinstance(at_once, Absent) and shared.cache.prepares_quickly(plan):
        plan, at_once = decider.prepare_at_once(plan, now(), at_once)
    if not isinstance(at_once, (Absent, Postpone)):
        return Decided(at_once, plan)
    decided = await shared.run.read(decider.decide, plan, now(), batch)
    if not isinstance(decided.decision, Forward):
        return decided
    # Meanwhile an identical request may have gone upstream, and its answer may even have been stored.
    if landings != shared.flights.landings and (found := await shared.run.read(decider.exact, decided.plan, now())):
        return Decided(found, decided.plan)
    return Decided(decider.without_entry(decided.plan, decided.decision.absent), decided.plan)
