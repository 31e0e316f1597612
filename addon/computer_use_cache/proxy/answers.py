"""Answers that need no upstream call: from the store, from the parts of a batch, or behind the call of another."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from mitmproxy import http
from msgspec.structs import replace

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache import policy
from computer_use_cache.cache.batches import Batch, join_known, open_batch
from computer_use_cache.cache.cache import Cache, offline_error
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.policy import Controls
from computer_use_cache.cache.replay import replay, replays_quickly
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.flights.flight import Flights, Released, Stream
from computer_use_cache.formats.embeddings import Embeddings
from computer_use_cache.models import NOTHING, Entry, Outcome, Response
from computer_use_cache.proxy import cache_headers, responses
from computer_use_cache.proxy.failure_log import Trouble
from computer_use_cache.proxy.replayer import Replayer
from computer_use_cache.setting_values import HitUsage

logger = logging.getLogger(__name__)


class Answers:
    """Looks for answers; what it finds it sets as the response of the flow."""

    def __init__(self, cache: Cache, ledger: Ledger, replayer: Replayer, flights: Flights) -> None:
        self._cache = cache
        self._ledger = ledger
        self._replayer = replayer
        self._flights = flights
        self._looking_up = Trouble("looking up")

    async def batch_of(self, plan: Plan) -> Batch | None:
        """The batch that a request is, None when it is none or cannot be taken apart."""
        if not isinstance(plan.format, Embeddings):
            return None
        return await asyncio.to_thread(self._open_batch, plan)

    def _open_batch(self, plan: Plan) -> Batch | None:
        try:
            return open_batch(self._cache, plan, time.time())
        except StoreError as error:
            self._looking_up.failed(error)
        except FormatError as error:
            logger.warning("a batch was not taken apart: %s", error)
        return None

    async def give(self, flow: http.HTTPFlow, plan: Plan, controls: Controls, batch: Batch | None) -> bool:
        """Whether the flow has its answer; False when it is to lead, or to ask upstream on its own."""
        while True:
            if found := await self.find(plan, batch):
                self._replayer.serve(flow, plan, *found, outcome=Outcome.HIT, now=time.time())
                self._ledger.served(Outcome.HIT, plan.model, found[0].cost)
                return True
            if not controls.upstream:
                self._refuse(flow, plan, await asyncio.to_thread(self._nearest, plan))
                return True
            flight = self._flights.find(plan.key) if controls.read and controls.write else None
            if flight is None:
                return False
            flight.follow(lambda: flow.client_conn.connected)
            begun = await flight.begun()
            if (
                not flow.is_replay
                and isinstance(begun, Stream)
                and (begun.shape, begun.with_usage) == (plan.shape, plan.with_usage)
            ):
                self._replayer.serve_live(flow, plan, begun, flight)
                self._ledger.coalesced()
                flight.when_landed(lambda outcome: self._count_saved(plan, outcome))
                return True
            outcome = begun if not isinstance(begun, Stream) else await flight.landed()
            match outcome:
                case Entry():
                    pieces = await _replay(plan, outcome)
                    if pieces is None:
                        return False
                    self._replayer.serve(flow, plan, outcome, pieces, outcome=Outcome.MISS, now=time.time())
                case Response():
                    how = f"; fwd-status={outcome.status}; collapsed"
                    if policy.is_failure(outcome.status) and await self.give_stale(flow, plan, how):
                        return True
                    self._replayer.serve_error(flow, plan, outcome)
                case Released.FAILED:
                    return await self.give_stale(flow, plan, "; collapsed")
                case Released.ALONE:
                    return False
                case Released.TOGETHER:
                    continue
            self._ledger.coalesced()
            self._count_saved(plan, outcome)
            return True

    def _count_saved(self, plan: Plan, outcome: Entry | Response | Released) -> None:
        """A follower paid nothing, and waited as long as its leader."""
        if isinstance(outcome, Entry):
            self._ledger.saved(plan.model, replace(outcome.cost, seconds=0.0))

    def _nearest(self, plan: Plan) -> Near | None:
        """What a request is near to that nothing answers and that may not go upstream; it is noted."""
        near = near_miss.study(self._cache, plan).near
        try:
            if near:
                near_miss.log_miss(self._cache, plan, near, time.time())
        except StoreError as error:
            self._looking_up.failed(error)
        return near

    def _refuse(self, flow: http.HTTPFlow, plan: Plan, near: Near | None) -> None:
        settings, why = self._cache.settings, "no entry answers this request"
        if near:
            why += f"; the nearest, {near.key[:8]}, differs at {near.differences[0]}"
        responses.refuse(flow, offline_error(why), settings)
        assert flow.response
        told = cache_headers.Told(Outcome.MISS, "detail=not-forwarded", plan.key, reason=str(near or ""))
        cache_headers.tell(flow, flow.response, told, settings)
        self._ledger.served(Outcome.MISS, plan.model, NOTHING)

    async def find(self, plan: Plan, batch: Batch | None) -> tuple[Entry, list[bytes]] | None:
        """The entry that answers a plan, and the pieces of its answer."""
        entry = await self._look_up(self._cache.lookup, plan)
        if entry is None and batch and batch.unseen is None:
            entry = await asyncio.to_thread(join_known, batch)
        pieces = await _replay(plan, entry, self._cache.settings.hit_usage) if entry else None
        return None if entry is None or pieces is None else (entry, pieces)

    async def give_stale(self, flow: http.HTTPFlow, plan: Plan, forwarded: str) -> bool:
        """Whether a flow whose upstream has failed has an entry past its TTL as its answer; `forwarded` are the
        parameters of Cache-Status that tell how it failed."""
        entry = await self._look_up(self._cache.lookup_stale, plan)
        pieces = await _replay(plan, entry) if entry else None
        if entry is None or pieces is None:
            return False
        now = time.time()
        self._replayer.serve(flow, plan, entry, pieces, outcome=Outcome.STALE, now=now, forwarded=forwarded)
        self._ledger.served(Outcome.STALE, plan.model, replace(entry.cost, seconds=0.0))  # the upstream was waited for
        return True

    async def _look_up(self, look_up: Callable[[Plan, float], Entry | None], plan: Plan) -> Entry | None:
        try:
            if self._cache.store.is_quick:
                entry = look_up(plan, time.time())
            else:
                entry = await asyncio.to_thread(look_up, plan, time.time())
        except StoreError as error:
            self._looking_up.failed(error)
            return None
        self._looking_up.worked()
        return entry


async def _replay(plan: Plan, entry: Entry, usage: HitUsage = HitUsage.RECORDED) -> list[bytes] | None:
    if replays_quickly(plan, entry, usage):
        return replay(plan, entry, usage)
    return await asyncio.to_thread(replay, plan, entry, usage)
