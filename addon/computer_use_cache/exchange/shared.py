"""What the exchanges of one proxy share, and the one place where outcomes are counted and logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis.near_miss import Study
from computer_use_cache.errors import StoreError
from computer_use_cache.exchange.calls import call_of
from computer_use_cache.exchange.decide import Decider
from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.exchange.failure_log import FailureLog
from computer_use_cache.exchange.rendering import log_line
from computer_use_cache.exchange.result import Result, Storing
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.storing import Arrived, Recorded
from computer_use_cache.exchange.storing_process import StoringProcess
from computer_use_cache.exchange.storing_thread import StoringThread
from computer_use_cache.exchange.studies import Studies
from computer_use_cache.exchange.unstored import Unstored
from computer_use_cache.flights.flight import Flights
from computer_use_cache.flights.leases import LeaseHolder
from computer_use_cache.models import NOTHING, Cost, Entry, Outcome, Response, Skipped
from computer_use_cache.runs.assignment import OnRecorded
from computer_use_cache.runs.call_log import CallLog
from computer_use_cache.runs.recorder import Recorder
from computer_use_cache.screens.approval import INEXACT

if TYPE_CHECKING:
    from computer_use_cache.accounting.spans import Spans

logger = logging.getLogger(__name__)


class Shared:
    """One per proxy."""

    def __init__(
        self,
        cache: Cache,
        ledger: Ledger,
        run: Runners,
        *,
        own_run: str = "",
        spans: Spans | None = None,
        call_log: CallLog | None = None,
        storing_process: StoringProcess | None = None,
    ) -> None:
        """`own_run` is the id of the run that all calls belong to, or "". `storing_process` stores answers while the
        proxy is busy."""
        self.cache = cache
        self.ledger = ledger
        self.run = run
        self.own_run = own_run
        self.flights = Flights()
        self.leases = LeaseHolder(cache.store.leases, cache.settings.upstream_timeout_seconds)
        self.decider = Decider(cache, self.flights)
        self.studies = Studies(cache, ledger, run, self.flights)
        self.storing = FailureLog("storing")
        self.unstored = Unstored()
        self._recorder = Recorder(cache, ledger, own_run, spans, call_log)
        self._call_log = call_log
        self._storing_process = storing_process
        self._storing_thread = StoringThread(cache, run)
        self._decisions_level = logging.DEBUG if call_log else logging.INFO
        """DEBUG if a call log is printed, which says the same in other words."""
        self._recording = FailureLog("recording runs")

    async def keep(self, plan: Plan, response: Response, study: Study | None, parts: Sequence[Entry]) -> Recorded:
        """Store a complete answer that has just arrived, if it may be stored, and with it the `parts` of a batch."""
        is_summarized = self._call_log is not None and self._call_log.is_printed
        arrived = Arrived(plan, response, self.run.now(), study, parts, is_summarized=is_summarized)
        recorded = None
        if study is None and self._storing_process:
            recorded = await self._storing_process.keep(arrived)
            if recorded and isinstance(recorded.landing, Entry):
                self.cache.note_kept(plan.key)
        if recorded is None:
            if self._storing_process:
                await self._storing_process.caught_up()  # it may have an older answer to the same request
            recorded = await self._storing_thread.keep(arrived)
        if recorded.error:
            self.storing.failed(recorded.error)
        elif not isinstance(recorded.kept, Skipped):
            self.storing.worked()
        if recorded.did is not None and self._call_log:
            self._call_log.remember(plan.key, recorded.did)
        return recorded

    def conclude_hit(self, plan: Plan, serve: Serve, began: float) -> None:
        """Count and record a hit of the fast path that began at this time (Unix seconds). It is not logged: the line
        would cost more than the hit."""
        cost, rebound = serve.entry.cost, 0
        self.ledger.served(Outcome.HIT, plan.model, cost)
        if serve.rebound:
            self.ledger.rebound(serve.rebound)
            rebound = sum(number for _, number in serve.rebound)
        self._recorder.hit(plan, serve.entry.key, cost, began, self.run.now(), rebound=rebound)

    def conclude(self, result: Result, spent: Cost, now: float) -> None:
        """Count and log a request that has ended. `spent` is the cost of its own upstream call."""
        if result.rebound:
            self.ledger.rebound(result.rebound)
        if result.not_rebound:
            self.ledger.not_rebound(result.not_rebound)
        match result.outcome:
            case Outcome.HIT | Outcome.STALE:
                self.ledger.served(result.outcome, result.model, result.saved or NOTHING)
            case Outcome.MISS:
                self.ledger.served(result.outcome, result.model, spent)
            case Outcome.COALESCED:
                self.ledger.coalesced()
                if result.saved:
                    self.ledger.saved(result.model, result.saved)
            case Outcome.BYPASS:
                assert result.bypass
                self.ledger.bypassed(result.bypass.reason)
            case Outcome.REFUSED:
                self.ledger.refused()
            case _:
                assert_never(result.outcome)
        match result.storing:
            case Storing.STORED | Storing.UPDATED:
                self.ledger.stored(now)
            case Skipped(reason=reason):
                self.ledger.skipped(reason)
        logger.log(self._decisions_level, "%s", log_line(result))

    def record(
        self,
        result: Result,
        plan: Plan,
        spent: Cost,
        began: float,
        now: float,
        *,
        on_recorded: OnRecorded | None = None,
    ) -> None:
        """Record a call that has ended, in its run. The other arguments are those of `call_of`."""
        is_inexact = any(kind in INEXACT for kind, _ in result.rebound)
        self._recorder.add(plan, call_of(result, plan, spent, began, now), on_recorded, is_inexact=is_inexact)

    def flush(self, now: float, *, is_last: bool = False) -> None:
        """Move what was counted and recorded into the store at `now` (Unix seconds); after a flood, all of it only if
        this `is_last`. Blocks. Raises StoreError for the counts, which are then kept."""
        try:
            self._recorder.flush(is_last=is_last)
        except StoreError as error:
            self._recording.failed(error)
        else:
            self._recording.worked()
        self.ledger.flush(now)
