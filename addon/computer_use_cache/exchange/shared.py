"""What the exchanges of one proxy share, and the one place where outcomes are counted and logged."""

from __future__ import annotations

import logging
from typing import assert_never

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decide import Decider
from computer_use_cache.exchange.failure_log import FailureLog
from computer_use_cache.exchange.rendering import log_line
from computer_use_cache.exchange.report import Report, Storing
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.studies import Studies
from computer_use_cache.flights.flight import Flights
from computer_use_cache.flights.leases import LeaseHolder
from computer_use_cache.models import NOTHING, Cost, Entry, Outcome, Skipped

logger = logging.getLogger(__name__)


class Shared:
    """One per proxy."""

    def __init__(self, cache: Cache, ledger: Ledger, run: Runners) -> None:
        self.cache = cache
        self.ledger = ledger
        self.run = run
        self.flights = Flights()
        self.leases = LeaseHolder(cache.store.leases, cache.settings.upstream_timeout_seconds)
        self.decider = Decider(cache, self.flights)
        self.studies = Studies(cache, ledger, run, self.flights)
        self.storing = FailureLog("storing")

    def conclude_hit(self, plan: Plan, entry: Entry) -> None:
        """Count a hit of the fast path. It is not logged: the line would cost more than the hit."""
        self.ledger.served(Outcome.HIT, plan.model, entry.cost)

    def conclude(self, report: Report, spent: Cost, now: float) -> None:
        """Count and log a request that has ended. `spent` is the cost of its own upstream call."""
        if report.rebound:
            self.ledger.rebound(report.rebound)
        if report.not_rebound:
            self.ledger.not_rebound(report.not_rebound)
        match report.outcome:
            case Outcome.HIT | Outcome.STALE:
                self.ledger.served(report.outcome, report.model, report.saved or NOTHING)
            case Outcome.MISS:
                self.ledger.served(report.outcome, report.model, spent)
            case Outcome.COALESCED:
                self.ledger.coalesced()
                if report.saved:
                    self.ledger.saved(report.model, report.saved)
            case Outcome.BYPASS:
                assert report.bypass
                self.ledger.bypassed(report.bypass.reason)
            case Outcome.REFUSED:
                self.ledger.refused()
            case _:
                assert_never(report.outcome)
        match report.storing:
            case Storing.STORED | Storing.UPDATED:
                self.ledger.stored(now)
            case Skipped(reason=reason):
                self.ledger.skipped(reason)
        logger.info("%s", log_line(report))
