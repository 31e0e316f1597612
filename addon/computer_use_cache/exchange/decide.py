"""Decides what to do with a planned request: serve it, follow an identical one, forward it or refuse it.

The order is the rule. The store comes first: an exact entry, then an entry for the same request with other values.
Then come the calls that are under way, and the upstream last. The normal path, the fast path and the tests ask the same
`Decider`; the fast path acts on `Serve` only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, assert_never

from computer_use_cache.cache import rebound
from computer_use_cache.cache.batches import Batch, join_known
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.lookup import offline_error
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.rebound import Found
from computer_use_cache.cache.replay import replay, replays_quickly
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.exchange.decisions import Decision, Follow, Forward, Postpone, Refuse, Serve, ServeStale
from computer_use_cache.exchange.failure_log import FailureLog
from computer_use_cache.flights.flight import Flights
from computer_use_cache.models import Absent, Bypass, Entry, Fwd
from computer_use_cache.rebinding import Refusal
from computer_use_cache.store.base import Slow

logger = logging.getLogger(__name__)


class Decided(NamedTuple):
    """A decision and the plan it is based on, which is prepared if there is no exact entry."""

    decision: Decision
    plan: Plan


class Decider:
    """Decides for one proxy, given its `cache` and its upstream calls under way (`flights`)."""

    def __init__(self, cache: Cache, flights: Flights) -> None:
        self._cache = cache
        self._flights = flights
        self._looking_up = FailureLog("looking up")

    def decide(self, plan: Plan, now: float, batch: Batch | None = None) -> Decided:
        """Blocks: call it in a thread."""
        found = self._exact(plan, now, batch)
        if isinstance(found, Absent):
            prepared = rebound.prepare(self._cache, plan)
            if prepared.key not in ("", plan.key):
                found = self._exact(prepared, now)
            plan = prepared
        if isinstance(found, Absent):
            answer = self._rebound(plan, found, now)
            assert not isinstance(answer, Postpone), "it may take long"
            found = answer
        return Decided(found if isinstance(found, Serve) else self.without_entry(plan, found), plan)

    def decide_at_once(self, plan: Plan, now: float) -> Decision | Absent | Postpone:
        """Decide on the event loop: Serve; Absent if no exact entry may be served, and `prepare_at_once` or `decide`
        must go on; Forward or Refuse for a bypass; POSTPONE if finding out would hold up the loop."""
        found, hit_usage = self._entry(self._cache.lookup_quickly, plan, now, None), self._cache.settings.hit_usage
        if isinstance(found, Entry) and replays_quickly(plan, found, hit_usage) and rebound.is_exact(plan, found):
            pieces = replay(plan, found, hit_usage)
            return Postpone.POSTPONE if pieces is None else Serve(found, pieces)
        if not isinstance(found, Absent):
            return Postpone.POSTPONE
        return self.without_entry(plan, found) if isinstance(plan.verdict, Bypass) else found

    def prepare_at_once(self, plan: Plan, now: float, absent: Absent) -> tuple[Plan, Decision | Postpone]:
        """Go on after `decide_at_once` has found no exact entry for a short request: the prepared plan and its
        decision; POSTPONE as above."""
        prepared = rebound.prepare(self._cache, plan)
        found = absent if prepared.key in ("", plan.key) else self.decide_at_once(prepared, now)
        if isinstance(found, Absent):
            found = self._rebound(prepared, found, now, quickly=True)
        return prepared, self.without_entry(prepared, found) if isinstance(found, Absent) else found

    def exact(self, plan: Plan, now: float) -> Serve | None:
        """The answer of the entry stored under the request's own key by now. Blocks and computes."""
        found = self._exact(plan, now)
        return found if isinstance(found, Serve) else None

    def share(self, plan: Plan, entry: Entry) -> Serve | None:
        """The answer of an entry stored under the request's own key, None if it does not fit. Blocks and computes."""
        served = self._served(plan, entry)
        return served if isinstance(served, Serve) else None

    def _exact(self, plan: Plan, now: float, batch: Batch | None = None) -> Serve | Absent:
        found = self._entry(self._cache.lookup, plan, now, batch)
        return self._served(plan, found) if isinstance(found, Entry) else found

    def _served(self, plan: Plan, entry: Entry) -> Serve | Absent:
        answer = rebound.replay_exact(self._cache, plan, entry)
        if isinstance(answer, Refusal):
            return _not_rebound(answer, Absent(Fwd.URI_MISS))
        return Serve(entry, answer.pieces, tuple(answer.counts.items()))

    def _rebound(self, plan: Plan, absent: Absent, now: float, *, quickly: bool = False) -> Serve | Absent | Postpone:
        """The answer of an entry that was recorded for other values. If it is to be found `quickly`, on the event loop,
        a Postpone if that takes too long."""
        if isinstance(plan.verdict, Bypass) or plan.verdict.read_ban:
            return absent
        try:
            found = rebound.find(self._cache, plan, now, quickly=quickly)
        except StoreError as error:
            self._looking_up.failed(error)
            return absent
        match found:
            case None:
                return absent
            case Slow.SLOW:
                return Postpone.POSTPONE
            case Refusal():
                return _not_rebound(found, absent)
            case Found(entry, answer):
                return Serve(entry, answer.pieces, tuple(answer.counts.items()))
            case _:
                assert_never(found)

    def without_entry(self, plan: Plan, absent: Absent) -> Follow | Forward | Refuse:
        """The decision for a request that the store does not answer. Quick."""
        controls = plan.route.controls
        if not controls.upstream:
            why = _unanswered(plan, absent)
            return Refuse(offline_error(controls.upstream_ban, why), why=why)
        if isinstance(plan.verdict, Bypass):
            return Forward(absent)
        flight = self._flights.find(plan.key) if plan.verdict.coalesces else None
        return Follow(absent, flight) if flight else Forward(absent)

    def explained(self, plan: Plan, refusal: Refuse, now: float) -> Refuse:
        """The refusal, which names the nearest entry if there is one. Logs the near miss. Blocks and computes."""
        if isinstance(plan.verdict, Bypass):
            return refusal
        near = self._nearest(plan)
        if near is None:
            return refusal
        try:
            near_miss.log_miss(self._cache, plan, near, now)
        except StoreError as error:
            self._looking_up.failed(error)
        why = f"{refusal.why}; the nearest, {near.key[:8]}, differs at {near.differences[0]}"
        return Refuse(offline_error(plan.verdict.upstream_ban, why), near, why)

    def _nearest(self, plan: Plan) -> Near | None:
        """The nearest entry of a request that is refused in any case: a failure to find it changes nothing."""
        try:
            return near_miss.study(self._cache, plan).near
        except Exception:
            logger.exception("the cache failed; a near miss was not studied")
            return None

    def stale(self, plan: Plan, now: float, status: int | None, *, collapsed: bool = False) -> ServeStale | None:
        """The expired entry that may stand in for an upstream that failed with this `status`. It is `collapsed` if
        another request asked the upstream. Blocks and computes."""
        try:
            entry = self._cache.lookup_stale(plan, now)
        except StoreError as error:
            self._looking_up.failed(error)
            return None
        found = self.share(plan, entry) if entry else None
        return ServeStale(found.entry, found.pieces, status, collapsed) if found else None

    def _entry[Found: Entry | Absent | Slow](
        self, lookup: Callable[[Plan, float], Found], plan: Plan, now: float, batch: Batch | None
    ) -> Found | Entry | Absent:
        """The entry that answers a request. For a batch whose inputs are all stored, it is made from their entries."""
        try:
            found = lookup(plan, now)
            if isinstance(found, Absent) and batch and batch.known:
                return Absent(Fwd.PARTIAL) if batch.unseen else join_known(batch)
        except StoreError as error:
            self._looking_up.failed(error)
            return Absent(Fwd.URI_MISS)
        except FormatError:
            return Absent(Fwd.URI_MISS)
        self._looking_up.worked()
        return found


def _not_rebound(refusal: Refusal, absent: Absent) -> Absent:
    return Absent(absent.fwd, absent.said or f"not rebound: {refusal}", refusal.cause)


def _unanswered(plan: Plan, absent: Absent) -> str:
    if isinstance(plan.verdict, Bypass):
        return f"this request is never cached ({plan.verdict})"
    return f"no entry answers this request{absent.said and f' ({absent.said})'}"
