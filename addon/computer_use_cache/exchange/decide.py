"""Decides what to do with a planned request: serve it, follow an identical one, forward it or refuse it.

The order is the rule. The store comes first: an exact entry, then an entry for the same request with other values.
Then come the calls that are under way, and the upstream last. The normal way, the fast path and the tests ask the same
`decide`; the fast path takes nothing but `Serve`.
"""

from __future__ import annotations

from collections.abc import Callable

from computer_use_cache.cache.batches import Batch, join_known
from computer_use_cache.cache.cache import Cache, offline_error
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.replay import replay, replays_quickly
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.exchange.decisions import Decision, Follow, Forward, Postpone, Refuse, Serve
from computer_use_cache.exchange.failure_log import FailureLog
from computer_use_cache.flights.flight import Flights
from computer_use_cache.models import Absent, Bypass, Entry, Fwd
from computer_use_cache.store.base import Slow


class Decider:
    """Decides for one proxy: `cache` holds its store, `flights` its calls that are under way."""

    def __init__(self, cache: Cache, flights: Flights) -> None:
        self._cache = cache
        self._flights = flights
        self._looking_up = FailureLog("looking up")

    def decide(self, plan: Plan, now: float, batch: Batch | None = None) -> Decision:
        """Blocks and computes: call it off the event loop, unless `decide_at_once` has said otherwise."""
        return self._decide(plan, self._entry(self._cache.lookup, plan, now, batch))

    def decide_at_once(self, plan: Plan, now: float) -> Decision | Postpone:
        """The same for the event loop: POSTPONE if deciding would take long."""
        entry = self._entry(self._cache.lookup_quickly, plan, now, None)
        if entry is Slow.SLOW or (
            isinstance(entry, Entry) and not replays_quickly(plan, entry, self._cache.settings.hit_usage)
        ):
            return Postpone.POSTPONE
        return self._decide(plan, entry)

    def _decide(self, plan: Plan, found: Entry | Absent) -> Decision:
        if isinstance(found, Entry):
            pieces = replay(plan, found, self._cache.settings.hit_usage)
            if pieces is not None:
                return Serve(found, pieces)
            found = Absent(Fwd.URI_MISS)
        # A template of the request, whose entry is rebound to the present values, is looked up here.
        return self.without_entry(plan, found)

    def without_entry(self, plan: Plan, absent: Absent) -> Follow | Forward | Refuse:
        """What is left when the store does not answer. Quick."""
        if isinstance(plan.verdict, Bypass):
            return Forward(absent)
        if not plan.verdict.upstream:
            return Refuse(offline_error(plan.verdict.upstream_ban, "no entry answers this request"))
        flight = self._flights.find(plan.key) if plan.verdict.coalesces else None
        return Follow(absent, flight) if flight else Forward(absent)

    def explained(self, plan: Plan, refusal: Refuse, now: float) -> Refuse:
        """A refusal that names the nearest entry, if there is one; the near miss is noted. Blocks and computes."""
        near = near_miss.study(self._cache, plan).near
        if near is None or isinstance(plan.verdict, Bypass):
            return refusal
        try:
            near_miss.log_miss(self._cache, plan, near, now)
        except StoreError as error:
            self._looking_up.failed(error)
        where = f"the nearest, {near.key[:8]}, differs at {near.differences[0]}"
        why = f"no entry answers this request; {where}"
        return Refuse(offline_error(plan.verdict.upstream_ban, why), near)

    def stale(self, plan: Plan, now: float) -> Serve | None:
        """The expired entry that may stand in for an upstream that failed. Blocks and computes."""
        try:
            entry = self._cache.lookup_stale(plan, now)
        except StoreError as error:
            self._looking_up.failed(error)
            return None
        pieces = replay(plan, entry) if entry else None
        return None if entry is None or pieces is None else Serve(entry, pieces)

    def _entry[Found: Entry | Absent | Slow](
        self, lookup: Callable[[Plan, float], Found], plan: Plan, now: float, batch: Batch | None
    ) -> Found | Entry | Absent:
        """The entry that answers a request; for a batch whose inputs are all known, one made of theirs."""
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
