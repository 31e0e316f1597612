"""One exchange with a cached API, from request to stored answer: answered here, or led, recorded and released."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from mitmproxy import http
from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache import policy
from computer_use_cache.cache.batches import Batch, complete, total
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Near, Study
from computer_use_cache.errors import FormatError, RequestError, SkipReason, StoreError
from computer_use_cache.flights.flight import Flight, Flights, Released, Stream
from computer_use_cache.flights.leases import Fleet, Lease
from computer_use_cache.flights.recorder import Recorder
from computer_use_cache.models import (
    NOTHING,
    Bypass,
    Cost,
    Entry,
    Outcome,
    Reason,
    Request,
    Response,
    Shape,
    Skipped,
)
from computer_use_cache.proxy import cache_headers, flows, forwarding, responses
from computer_use_cache.proxy.answers import Answers
from computer_use_cache.proxy.failure_log import Trouble
from computer_use_cache.proxy.http.layer import UPSTREAM_FAULT, Feed
from computer_use_cache.proxy.replayer import Replayer
from computer_use_cache.proxy.tee import decoder, tee

logger = logging.getLogger(__name__)

_STUDY_AFTER_SECONDS = 0.005
"""The study of a miss is not to hold up the request on its way out; few upstreams answer sooner."""

type InThread = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(slots=True)
class Exchange:
    """A flow on its way upstream. `started` is on the monotonic clock."""

    plan: Plan
    client_id: str
    started: float
    batch: Batch | None = None
    flight: Flight | None = None
    lease: Lease | None = None
    study: asyncio.Task[Study] | None = None
    recorder: Recorder | None = None
    marks_end: bool = False
    """Whether the end of the upstream's answer is marked, so that a cut would show."""


class Exchanges:
    """The exchanges of this moment. `write` runs a function of the core in the one thread that writes, and `study` in
    the one that finds out about misses."""

    def __init__(self, cache: Cache, ledger: Ledger, write: InThread, study: InThread) -> None:
        self._cache = cache
        self._ledger = ledger
        self._write = write
        self._study_in_thread = study
        self._replayer = Replayer(cache.settings)
        self._flights = Flights()
        self._answers = Answers(cache, ledger, self._replayer, self._flights)
        self._storing = Trouble("storing")
        self._fleet = Fleet(cache.store.leases, cache.settings.upstream_timeout_seconds)
        self._by_flow: dict[str, Exchange] = {}
        self._expected: dict[str, tuple[Request, Plan]] = {}

    def feed_of(self, flow: http.HTTPFlow) -> Feed | None:
        return self._replayer.feed_of(flow)

    def is_held(self, flow: http.HTTPFlow) -> bool:
        exchange = self._by_flow.get(flow.id)
        if exchange is None or exchange.flight is None:
            return False
        if not exchange.flight.is_wanted:
            self._flights.withdraw(exchange.flight)
            return False
        return True

    def upstream_timeout(self) -> float:
        return self._cache.settings.upstream_timeout_seconds

    def refuse(self, flow: http.HTTPFlow, error: RequestError) -> None:
        responses.refuse(flow, error, self._cache.settings)

    def expect(self, client_id: str, request: Request, plan: Plan) -> None:
        self._expected[client_id] = request, plan

    # -- the way of a request

    async def request(self, flow: http.HTTPFlow) -> None:
        """Answer a request from the store or a flight, or send it upstream. Raises RequestError."""
        request = flows.request_of(flow, self._cache.settings)
        if flow.request.method != "POST" or formats.match(request.path) is None:
            return
        plan = await self._plan(flow.client_conn.id, request)
        flow.metadata["cache_model"] = plan.model
        if plan.forward != request.body:
            flow.request.content = plan.forward
        if isinstance(plan.verdict, Bypass):
            self._send_upstream(flow, self._begin(flow, plan, None))
            return
        batch = await self._answers.batch_of(plan)
        if not await self._answers.give(flow, plan, plan.verdict, batch):
            exchange = self._begin(flow, plan, batch)
            if not await self._answered_by_fleet(flow, exchange):
                self._send_upstream(flow, exchange)

    async def _plan(self, client_id: str, request: Request) -> Plan:
        expected, plan = self._expected.pop(client_id, (None, None))
        if plan and expected == request:
            return plan
        if self._cache.plans_quickly(len(request.body)):
            return self._cache.plan(request)
        return await asyncio.to_thread(self._cache.plan, request)

    async def _answered_by_fleet(self, flow: http.HTTPFlow, exchange: Exchange) -> bool:
        """Whether another proxy's call brought the answer to a flow that leads here."""
        if exchange.flight is None:
            return False
        plan = exchange.plan
        found = await self._fleet.find_or_lead(plan.key, lambda: self._answers.find(plan, None))
        if found is None or isinstance(found, Lease):
            exchange.lease = found
            return False
        entry, pieces = found
        self._replayer.serve(flow, plan, entry, pieces, outcome=Outcome.MISS, now=time.time())
        self._ledger.coalesced()
        self._ledger.saved(plan.model, replace(entry.cost, seconds=0.0))
        self._forget(flow, exchange, entry)
        return True

    def _begin(self, flow: http.HTTPFlow, plan: Plan, batch: Batch | None) -> Exchange:
        """The exchange of a flow that is not answered here; it leads unless another one of its key does."""
        exchange = self._by_flow[flow.id] = Exchange(plan, flow.client_conn.id, time.monotonic(), batch)
        shares = not isinstance(plan.verdict, Bypass) and plan.verdict.read and plan.verdict.write
        if shares and self._flights.find(plan.key) is None:
            exchange.flight = self._flights.begin(plan.key)
        return exchange

    def _send_upstream(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        exchange.started = time.monotonic()  # it may have waited for another proxy
        plan, batch = exchange.plan, exchange.batch
        if batch and not batch.is_whole:
            flow.request.content = orjson.dumps(batch.unseen)
        forwarding.prepare_to_forward(flow, self._cache.settings)
        if isinstance(plan.verdict, Bypass):
            return
        # The tee must see plain bytes.
        flow.request.headers["accept-encoding"] = "identity"
        asyncio.get_running_loop().call_later(_STUDY_AFTER_SECONDS, self._study, exchange)

    # -- the way of an answer

    async def response_headers(self, flow: http.HTTPFlow) -> bool:
        """Decide how the answer passes; False for a flow that is not an exchange of ours."""
        exchange = self._by_flow.get(flow.id)
        if exchange is None or flow.response is None:
            return False
        exchange.marks_end = responses.marks_end(flow.response)
        shape = policy.shape_of(flow.response.headers.get("content-type", ""), exchange.plan.shape)
        if flow.response.status_code == 200 and shape in (Shape.SSE, Shape.ARRAY):
            # A stream's headers do not wait for the study; nothing is stored before it is done.
            if exchange.study and exchange.study.done():
                await self._heed_study(exchange)
            self._stream(flow, flow.response, exchange, shape)
        return True

    def _study(self, exchange: Exchange) -> asyncio.Task[Study]:
        """The study of the request, which goes on in a thread."""
        if exchange.study is None:
            exchange.study = asyncio.create_task(self._study_in_thread(near_miss.study, self._cache, exchange.plan))
        return exchange.study

    async def _heed_study(self, exchange: Exchange) -> Study:
        """A request that holds a credential has gone past the cache."""
        if isinstance(exchange.plan.verdict, Bypass):
            return Study()
        found = await self._study(exchange)
        if found.bypass and exchange.plan.verdict.write:
            exchange.plan = replace(exchange.plan, verdict=found.bypass, key="")
            self._land(exchange, Released.ALONE)
        return found

    def _stream(self, flow: http.HTTPFlow, response: http.Response, exchange: Exchange, shape: Shape) -> None:
        headers = response.headers
        coding = headers.get("content-encoding")
        decode = decoder(coding) if coding else None
        if decode:
            del headers["content-encoding"]
            headers.pop("content-length", None)
        if exchange.flight and (decode or coding is None):
            kept = (("content-type", headers["content-type"]),)
            exchange.flight.begin_stream(Stream(shape, exchange.plan.with_usage, kept))
        exchange.recorder = Recorder(self._cache.settings.max_response_chars, exchange.started)
        already = response.stream
        response.stream = tee(exchange.recorder, exchange.flight, decode, already if callable(already) else None)
        responses.delimit(flow.request, response)
        self._describe(flow, exchange, store="pending")

    async def response(self, flow: http.HTTPFlow) -> None:
        """Keep a complete answer and release the followers, even if this fails."""
        exchange = self._by_flow.get(flow.id)
        if exchange is None or flow.response is None:
            return
        try:
            if exchange.recorder:
                flow.response.data.content = exchange.recorder.body
                answer = replace(self._answer(flow.response, exchange), ended=exchange.marks_end)
                store = await self._finish(flow, exchange, answer)
                cache_headers.note(flow, self._told(flow.response, exchange, store))
            else:
                await self._answer_whole(flow, flow.response, exchange)
        finally:
            self._forget(flow, exchange)

    async def _answer_whole(self, flow: http.HTTPFlow, response: http.Response, exchange: Exchange) -> None:
        with contextlib.suppress(ValueError):  # what does not decode passes unchanged, and is not stored
            response.decode()
        if exchange.batch and not exchange.batch.is_whole:
            flow.request.content = exchange.plan.forward  # what was asked, for whoever looks at the flow
        answer, parts = self._answer(response, exchange), list[Entry]()
        failed = policy.is_failure(answer.status)
        if failed and await self._answers.give_stale(flow, exchange.plan, f"; fwd-status={answer.status}"):
            self._forget(flow, exchange, answer)
            return
        if exchange.batch and answer.status == 200:
            try:
                body, parts = await asyncio.to_thread(complete, self._cache, exchange.batch, answer, time.time())
            except Exception as error:
                if not isinstance(error, FormatError):
                    if exchange.batch.is_whole:
                        raise
                    logger.exception("the cache failed; an answer to a part of a batch is none to the whole")
                responses.refuse(flow, responses.upstream_error(flow, 502, str(error)), self._cache.settings)
                return
            response.content = body
            answer = self._answer(response, exchange)
        store = await self._finish(flow, exchange, answer, parts)
        self._describe(flow, exchange, store=store)

    def _answer(self, response: http.Response, exchange: Exchange) -> Response:
        return Response(
            response.status_code,
            flows.lower_headers(response.headers),
            response.raw_content or b"",
            time.monotonic() - exchange.started,
            exchange.recorder.pace if exchange.recorder else (),
        )

    async def _finish(
        self, flow: http.HTTPFlow, exchange: Exchange, answer: Response, parts: Sequence[Entry] = ()
    ) -> str:
        """Store before release; what became of the answer, as the Store header says it."""
        outcome: Entry | Response | Released = Released.ALONE
        try:
            found = await self._heed_study(exchange)
            plan = exchange.plan
            if isinstance(plan.verdict, Bypass):
                self._ledger.bypassed(plan.verdict)
                return ""
            if exchange.recorder and exchange.recorder.given_up:
                self._ledger.served(Outcome.MISS, plan.model, Cost(seconds=answer.seconds))
                return str(Skipped(exchange.recorder.given_up))
            kept: tuple[Entry | None, str] = await self._write(self._record, plan, answer, found, parts, time.time())
            outcome = kept[0] or (answer if answer.status >= 400 else Released.ALONE)
            return kept[1]
        finally:
            self._forget(flow, exchange, outcome)

    def _record(
        self, plan: Plan, answer: Response, found: Study, parts: Sequence[Entry], now: float
    ) -> tuple[Entry | None, str]:
        """The entry of an answer that may be stored, and what became of it; in the thread that writes."""
        entry = self._cache.judge(plan, answer, now)
        whole = self._cache.cost(plan, answer, now) if isinstance(entry, Skipped) else entry.cost
        self._ledger.served(Outcome.MISS, plan.model, total(part.cost for part in parts) if parts else whole)
        if isinstance(entry, Skipped):
            logger.info("%s %s", plan.key[:8], entry)
            return None, str(entry)
        try:
            replaced = self._cache.keep(entry, now, found.record)
            for part in parts:
                self._cache.keep(part, now)
            if found.near:
                near_miss.log_miss(self._cache, plan, found.near, now)
        except StoreError as error:
            self._storing.failed(error)
            return entry, str(Skipped(SkipReason.STORE))
        self._storing.worked()
        if entry.offline_only:
            return entry, str(Skipped(SkipReason.SILENT))
        self._ledger.stored(now)
        return entry, "updated" if replaced else "stored"

    async def error(self, flow: http.HTTPFlow) -> cache_headers.Told:
        """The upstream failed, or the client left; what to tell of it where nothing was answered yet."""
        exchange = self._by_flow.get(flow.id)
        if exchange is None:
            return cache_headers.Told(Outcome.BYPASS, "fwd=bypass", reason=Reason.ROUTE)
        if exchange.recorder and flow.response and exchange.plan.format.terminal_is_final:
            # A client may leave as soon as it has the terminal event, before the upstream closes.
            flow.response.data.content = exchange.recorder.body
            store = await self._finish(flow, exchange, self._answer(flow.response, exchange))
            told = self._told(flow.response, exchange, store)
            cache_headers.note(flow, told)
            return told
        failed = UPSTREAM_FAULT in flow.metadata
        self._forget(flow, exchange, Released.FAILED if failed else Released.TOGETHER)
        told = _told(exchange.plan, str(Skipped("the upstream failed" if failed else "the client left")))
        cache_headers.note(flow, told)
        is_stale = failed and flow.response is None and await self._answers.give_stale(flow, exchange.plan, "")
        if failed and not is_stale and told.outcome is Outcome.MISS:
            self._ledger.served(Outcome.MISS, exchange.plan.model, NOTHING)
        return told

    def _forget(
        self, flow: http.HTTPFlow, exchange: Exchange, outcome: Entry | Response | Released = Released.ALONE
    ) -> None:
        self._by_flow.pop(flow.id, None)
        self._land(exchange, outcome)

    async def client_left(self, client_id: str) -> None:
        """Wait while others still want what this client's calls bring: its connections close when this returns."""
        self._expected.pop(client_id, None)
        held = [e.flight for e in self._by_flow.values() if e.client_id == client_id and e.flight]
        for flight in held:
            await flight.landed_or_unwanted(self.upstream_timeout())

    def _describe(self, flow: http.HTTPFlow, exchange: Exchange, *, store: str) -> None:
        assert flow.response
        cache_headers.tell(flow, flow.response, self._told(flow.response, exchange, store), self._cache.settings)

    def _told(self, response: http.Response, exchange: Exchange, store: str) -> cache_headers.Told:
        near = exchange.study.result().near if exchange.study and exchange.study.done() else None
        return _told(exchange.plan, store, f"; fwd-status={response.status_code}", near)

    def _land(self, exchange: Exchange, outcome: Entry | Response | Released) -> None:
        if exchange.flight:
            self._flights.land(exchange.flight, outcome)
        if exchange.lease:
            self._fleet.end(exchange.lease)

    def close(self) -> None:
        """Nothing is asked any more."""
        self._fleet.close()


def _told(plan: Plan, store: str, status: str = "", near: Near | None = None) -> cache_headers.Told:
    if isinstance(plan.verdict, Bypass):
        return cache_headers.Told(Outcome.BYPASS, f"fwd=bypass{status}", reason=str(plan.verdict))
    stored = "; stored" if store in ("stored", "updated") else ""
    reason = store.partition("skipped: ")[2] or str(near or "")
    return cache_headers.Told(Outcome.MISS, f"fwd=miss{status}{stored}", plan.key, store, reason)
