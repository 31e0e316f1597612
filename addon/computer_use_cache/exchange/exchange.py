"""One request from decision to settled outcome. No mitmproxy and no clock: time is passed in or injected.

Whatever happens, be it a client that leaves or a fault of the cache itself, `settle` ends the exchange. Only its first
call counts. `states` says what may come before that.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import assert_never

from msgspec.structs import replace

from computer_use_cache.cache.batches import Batch
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis.near_miss import Study
from computer_use_cache.errors import StoreError
from computer_use_cache.exchange import batching, result, sample_numbers, supplied_answer
from computer_use_cache.exchange.decide_async import decide
from computer_use_cache.exchange.decisions import (
    Again,
    Answer,
    Bypassed,
    Ending,
    Fail,
    Follow,
    Forward,
    Join,
    Joined,
    Kept,
    Refuse,
    Serve,
    ServeStale,
    Share,
)
from computer_use_cache.exchange.following import follow
from computer_use_cache.exchange.forking import ForkedCall
from computer_use_cache.exchange.lead import Lead
from computer_use_cache.exchange.result import Result, Storing
from computer_use_cache.exchange.sample_numbers import Turn
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.exchange.states import NEXT, State
from computer_use_cache.exchange.study import MissStudy
from computer_use_cache.flights.flight import Landing, Released, Stream
from computer_use_cache.flights.stream_recorder import Recorder
from computer_use_cache.models import (
    NOTHING,
    Absent,
    Bypass,
    Cost,
    Entry,
    Fwd,
    Outcome,
    Reason,
    Response,
    Skip,
    Skipped,
)
from computer_use_cache.runs.assignment import OnRecorded

logger = logging.getLogger(__name__)


class Exchange:
    """One planned request. `is_here` says whether its client is still connected, and `joins` whether the client can be
    sent a stream piece by piece. `step` is its place in a forked run. `on_recorded` is called with its run and the
    number of its step, in the thread that writes."""

    def __init__(
        self,
        shared: Shared,
        plan: Plan,
        is_here: Callable[[], bool],
        *,
        joins: bool = True,
        step: ForkedCall | None = None,
        on_recorded: OnRecorded | None = None,
    ) -> None:
        self.state = State.DECIDING
        self.bypass: Bypass | None = None
        self.batch: Batch | None = None
        self.lead: Lead | None = None
        """Set if this exchange leads: identical requests may follow its upstream call."""
        self.recorder: Recorder | None = None
        self._shared = shared
        self._is_here = is_here
        self._joins = joins
        self._step = step
        self._on_recorded = on_recorded
        self._absent = Absent(Fwd.URI_MISS)
        self._status: int | None = None
        """The upstream's HTTP status."""
        self._turn: Turn | None = None
        self._cost = NOTHING
        self._began = shared.run.now()
        self._plan_with(plan)

    def _plan_with(self, plan: Plan) -> None:
        """Use this plan from here on. The study of a miss belongs to one plan, so it must not have begun."""
        self.plan = plan
        self.bypass = plan.verdict if isinstance(plan.verdict, Bypass) else None
        self._study = MissStudy(self._shared, plan)

    def _enter(self, state: State) -> None:
        assert state in NEXT[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    # -- decide

    async def resolve(self) -> Answer | Forward:
        """Find the answer, waiting for another request's upstream call if necessary; Forward if it needs its own."""
        if rejected := self.plan.route.controls.reject:
            await self._reject(rejected)
        if sample_numbers.is_ordered(self._shared, self.plan):
            plan, self._turn = await self._shared.run.read(sample_numbers.take, self._shared, self.plan)
            self._plan_with(plan)
        if self._step and self._step.answer:
            return await self._serve_supplied(self._step.answer)
        self.batch = await batching.opened(self._shared, self.plan)
        while True:
            decision, plan = await decide(self._shared, self.plan, self.batch)
            self._plan_with(plan)
            match decision:
                case Serve():
                    return decision
                case Refuse():
                    return await self._shared.run.read(self._shared.decider.explained, self.plan, decision, self._now())
                case Forward():
                    return await self._forward(decision)
                case Follow():
                    self._enter(State.FOLLOWING)
                    self._absent = decision.absent
                    answer = await follow(self._shared, self.plan, decision, self._is_here, joins=self._joins)
                    if isinstance(answer, Forward):
                        return await self._forward(answer)
                    if answer is not Again.AGAIN:
                        return answer
                    self._enter(State.DECIDING)
                case _:
                    assert_never(decision)

    async def _reject(self, key: str) -> None:
        """Remove the entry that the client rejects. If that fails, the request still goes upstream."""
        try:
            removed = await self._shared.run.write(self._shared.cache.store.delete, key)
        except StoreError as error:
            self._shared.storing.failed(error)
        else:
            logger.info("%.8s rejected%s", key, "" if removed else ": there is no such entry")

    async def _serve_supplied(self, text: str) -> Serve | Refuse:
        answer, plan = await self._shared.run.write(supplied_answer.serve, self._shared, self.plan, text, self._now())
        self._plan_with(plan)
        return answer

    async def _forward(self, forward: Forward) -> Share | Forward:
        """Go upstream, and lead identical requests unless another does already; Share if another proxy has the
        answer."""
        self._absent = forward.absent
        verdict, shared = self.plan.verdict, self._shared
        if not isinstance(verdict, Bypass) and verdict.coalesces and shared.flights.find(self.plan.key) is None:
            self.lead = Lead(self.plan, shared.flights, shared.leases)
            if found := await self.lead.take_lease(self._find):
                return Share(found.entry, found.pieces)
        self._enter(State.FORWARDED)
        if self.bypass is None:
            self._study.begin_soon()
        return forward

    async def _find(self) -> Serve | None:
        return await self._shared.run.read(self._shared.decider.exact, self.plan, self._now())

    # -- the upstream's answer

    async def begin_stream(self, status: int, started: float, stream: Stream | None) -> Result:
        """A streamed answer has begun. `stream` describes it to followers, None if they cannot join it.

        The client's headers do not wait for the study of the miss. Storing the answer does.
        """
        if self._study.is_done:
            await self._finish_study()
        if self.lead and stream:
            self.lead.flight.begin_stream(stream)
        self.recorder = Recorder(self._shared.cache.settings.max_response_chars, started)
        self._status = status
        self._enter(State.STREAMING)
        return self._known() if self.bypass else replace(self._known(), storing=Storing.PENDING)

    def feed(self, chunk: bytes, now: float) -> None:
        """A chunk of the stream has arrived at `now` on the clock of `started`; an empty one ends it."""
        assert self.recorder
        if chunk:
            self.recorder.feed(chunk, now)
        if self.lead is None:
            return
        if self.recorder.given_up:
            self.lead.close()
        if chunk:
            self.lead.flight.feed(chunk)
        else:
            self.lead.flight.end_stream()

    def give_up(self, reason: Skip) -> None:
        """Pass the rest of the stream on without recording it."""
        assert self.recorder
        self.recorder.give_up(reason)
        if self.lead:
            self.lead.close()

    @property
    def may_be_stale(self) -> bool:
        """Whether an expired entry may stand in for an upstream that fails."""
        return not isinstance(self.plan.verdict, Bypass) and self.plan.verdict.stale_seconds > 0

    @property
    def may_be_whole(self) -> bool:
        """Whether a stream that broke off may be complete: clients may leave, and some upstreams reset the connection,
        right after the last event."""
        return self.recorder is not None and self.plan.format.terminal_is_final

    async def join(self, response: Response) -> Joined | Fail:
        """The answer to the whole batch, made from the upstream's answer (200) to the inputs it was asked for."""
        assert self.batch
        self._status, self._cost = response.status, Cost(seconds=response.seconds)
        return await batching.joined(self._shared, self.batch, response)

    async def on_response(self, response: Response, parts: Sequence[Entry] = ()) -> Kept:
        """Store the complete answer if it may be stored; `parts` are the entries of a batch's inputs."""
        self._status = response.status
        study = await self._finish_study()
        if self.bypass:
            return Bypassed(self.bypass)
        if self.recorder and self.recorder.given_up:
            self._cost = Cost(seconds=response.seconds)
            return Skipped(self.recorder.given_up, self.recorder.given_up)
        recorded = await self._shared.keep(self.plan, response, study, parts)
        self._cost = recorded.cost
        self._will_land(recorded.landing)
        if study is None:
            self._shared.studies.put_off(self.plan, self._now())
        return recorded.kept

    async def on_failure(self, response: Response | None = None) -> ServeStale | Fail:
        """The upstream has failed, with this response or without any."""
        self._will_land(response or Released.FAILED)
        self._status = response.status if response else None
        if self.state is not State.STREAMING and self.bypass is None:
            find, now = self._shared.decider.stale, self._now()
            if stale := await self._shared.run.read(find, self.plan, now, self._status):
                return stale
        return Fail(Skipped(Skip.UPSTREAM, Skip.UPSTREAM))

    def on_client_left(self) -> Fail:
        """The client has left before its answer was complete, and no follower wants it."""
        self._will_land(Released.TOGETHER)
        return Fail(Skipped(Skip.CLIENT, Skip.CLIENT))

    async def _finish_study(self) -> Study | None:
        """Wait for the study of the miss; None if it is put off. A bypass has an empty one."""
        return Study() if self.bypass else await self._study.result()

    # -- the end

    def fault(self) -> None:
        """The cache itself failed before the request was sent upstream; it is now sent without the cache."""
        self.bypass, self.batch = Bypass(Reason.FAULT), None
        if self.state is not State.FORWARDED:
            self._enter(State.FORWARDED)
        self._release()

    def settle(self, ending: Ending, now: float) -> Result:
        """End the exchange: count it, log it, release its followers. A second call changes nothing."""
        if self.state is State.SETTLED:
            return self.result(ending, now)
        self._enter(State.SETTLED)
        self._study.forgo()
        try:
            final = self.result(ending, now)
            if self._turn:
                sample_numbers.end(self._shared, self._turn, ending)
            if self._step and not sample_numbers.is_answer(ending):
                self._step.give_back()
            self._shared.conclude(final, self._cost, now)
            if isinstance(ending, Join):
                ending.flight.when_landed(functools.partial(self._joined_stream, final))
            else:
                self._shared.record(final, self.plan, self._cost, self._began, now, on_recorded=self._on_recorded)
        finally:
            self._release()
        return final

    def result(self, ending: Ending, now: float) -> Result:
        """The result of the exchange if it ends like this."""
        return result.of_ending(self._known(), ending, now)

    def _known(self) -> Result:
        """The result so far."""
        if self.bypass:
            return Result(Outcome.BYPASS, self.plan.model, fwd=self.bypass.fwd, status=self._status, bypass=self.bypass)
        return Result(
            Outcome.MISS,
            self.plan.model,
            self.plan.key,
            fwd=self._absent.fwd,
            status=self._status,
            said=self._absent.said,
            not_rebound=self._absent.not_rebound,
            near=self._study.near,
        )

    def _joined_stream(self, result: Result, landing: Landing) -> None:
        """A follower of a stream paid nothing, and waited as long as its leader."""
        if isinstance(landing, Entry):
            saved = replace(landing.cost, seconds=0.0)
            self._shared.ledger.saved(self.plan.model, saved)
            result = replace(result, saved=saved)
        self._shared.record(result, self.plan, NOTHING, self._began, self._now(), on_recorded=self._on_recorded)

    def _will_land(self, landing: Landing) -> None:
        if self.lead:
            self.lead.landing = landing

    def _release(self) -> None:
        if self.lead:
            self.lead.release()

    def _now(self) -> float:
        return self._shared.run.now()
