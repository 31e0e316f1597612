"""Connects mitmproxy's flows with the core's exchanges: translates and acts. Decisions are made in the core."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import weakref
from collections.abc import Sequence
from typing import assert_never

from mitmproxy import http
from msgspec.structs import replace

from computer_use_cache.cache import judging, policy
from computer_use_cache.cache.lookup import offline_error
from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import RequestError
from computer_use_cache.exchange.decisions import (
    FAULT,
    Answer,
    Ending,
    Fail,
    Forward,
    Join,
    Refuse,
    Serve,
    ServeStale,
    Share,
    ShareError,
)
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.forking import Forking
from computer_use_cache.exchange.keeping import Keeping
from computer_use_cache.exchange.result import Result
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.models import NOTHING, Bypass, Entry, Fwd, Outcome, Reason, Request, Shape
from computer_use_cache.proxy import cache_headers, flows, forwarding, responses, streaming
from computer_use_cache.proxy.http.owner import CLIENT_FAULT, UPSTREAM_FAULT, Feed
from computer_use_cache.proxy.replayer import Replayer
from computer_use_cache.proxy.running import Running

_UNKNOWN = Result(Outcome.BYPASS, fwd=Fwd.BYPASS)
"""The result of a flow that bypasses the cache and whose upstream broke off in the middle of its answer."""

_FORK_BAN = "cache_fork_ban"
"""The metadata of a flow that keeps the `upstream_ban` of its place in a forked run."""


class FlowExchanges:
    """The exchanges of the flows that have not ended."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._settings = shared.cache.settings
        self._replayer = Replayer(self._settings)
        self.keeping = Keeping(time.time, shared.unstored)
        self._running: dict[str, Running] = {}
        self._passing: dict[str, Bypass] = {}
        """Flows that bypass the cache and so have no exchange, and the reason."""
        self.forking: Forking | None = None
        """Set if the only client is a fork of a run, or the replay of one."""
        self._expected: dict[str, tuple[Request, Plan]] = {}
        """The next request of a client, and its plan, if the fast path has already made one."""

    # -- what mitmproxy's layer asks (http/layer.py, Owner)

    def feed_of(self, flow: http.HTTPFlow) -> Feed | None:
        return self._replayer.feed_of(flow)

    def is_held(self, flow: http.HTTPFlow) -> bool:
        running = self._running.get(flow.id)
        return running is not None and running.exchange.lead is not None and running.exchange.lead.is_wanted()

    def upstream_timeout(self) -> float:
        return self._settings.upstream_timeout_seconds

    def expect(self, client_id: str, request: Request, plan: Plan) -> None:
        self._expected[client_id] = request, plan

    def refuse(self, flow: http.HTTPFlow, error: RequestError) -> None:
        """Answer a request that goes no further with an error, and count it."""
        running = self._running.pop(flow.id, None)
        self._passing.pop(flow.id, None)
        responses.refuse(flow, error, self._settings)
        if running:
            cache_headers.note(flow, running.exchange.settle(Refuse(error), time.time()))
        else:
            self._refused(flow, error)

    def _refused(self, flow: http.HTTPFlow, error: RequestError) -> None:
        result = Result(Outcome.REFUSED, error=error.message)
        self._shared.conclude(result, NOTHING, time.time())
        cache_headers.note(flow, result)

    # -- the request

    def pass_by(self, flow: http.HTTPFlow) -> None:
        """Let a request to an uncached route bypass the cache. It is counted when its answer begins."""
        is_cached = flows.is_cached_path(flow, self._settings) or flow.request.method not in ("GET", "HEAD", "POST")
        self._passing[flow.id] = Bypass(Reason.METHOD if is_cached else Reason.ROUTE)

    async def request(self, flow: http.HTTPFlow) -> None:
        """Answer a request to a cached API, or send it upstream. Raises RequestError."""
        if flow.id in self._passing:
            return
        if flows.format_of(flow, self._settings) is None:  # replayed from mitmproxy's interface
            self.pass_by(flow)
            return
        exchange = await self._begin(flow)
        running = self._running[flow.id] = Running(exchange, flow.client_conn.id, time.monotonic())
        answer = await exchange.resolve()
        if isinstance(answer, Forward):
            running.started = time.monotonic()  # `resolve` may have waited for another request's call
            self._send_upstream(flow, exchange)
            return
        now = time.time()
        try:
            self._answer(flow, exchange, answer, now)
        finally:
            if flow.response:  # else the cache failed, and the request goes upstream
                del self._running[flow.id]
                exchange.settle(answer, now)

    async def _begin(self, flow: http.HTTPFlow) -> Exchange:
        request = flows.request_of(flow, self._settings)
        step = self.forking.next(request) if self.forking else None
        if step and step.request is not request:
            request = step.request
            flows.replace_request(flow, request)
        if step:
            flow.metadata[_FORK_BAN] = step.upstream_ban
        plan = await self._plan(flow.client_conn.id, request)
        flow.metadata["cache_model"] = plan.model
        if plan.forward != request.body:
            flow.request.content = plan.forward
        cache_headers.name_run(flow, plan.route.controls.run or self._shared.own_run)
        loop, client, shown = asyncio.get_running_loop(), flow.client_conn, weakref.ref(flow)
        return Exchange(
            self._shared,
            step.restrict(plan) if step else plan,
            lambda: client.connected,
            joins=not flow.is_replay,
            step=step,
            on_recorded=lambda run, number: loop.call_soon_threadsafe(_note_step, shown, run, number),
        )

    def _answer(self, flow: http.HTTPFlow, exchange: Exchange, answer: Answer, now: float) -> None:
        result = exchange.result(answer, now)
        match answer:
            case Serve(entry, pieces) | Share(entry, pieces) | ServeStale(entry, pieces):
                self._replayer.serve(flow, exchange.plan, entry, pieces, result)
            case Join(stream, flight):
                self._replayer.serve_live(flow, stream, flight, result)
            case ShareError(response):
                self._replayer.serve_error(flow, response, result)
            case Refuse(error):
                self._answer_error(flow, error, result)
            case _:
                assert_never(answer)

    def _answer_error(self, flow: http.HTTPFlow, error: RequestError, result: Result) -> None:
        responses.refuse(flow, error, self._settings)
        assert flow.response
        cache_headers.tell(flow, flow.response, result, self._settings)

    async def _plan(self, client_id: str, request: Request) -> Plan:
        expected, plan = self._expected.pop(client_id, (None, None))
        if plan and expected == request:
            return plan
        cache = self._shared.cache
        if cache.plans_quickly(len(request.body)):
            return cache.plan(request)
        return await asyncio.to_thread(cache.plan, request)

    def _send_upstream(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        if exchange.batch and exchange.batch.forward:
            flow.request.content = exchange.batch.forward
        forwarding.prepare_to_forward(flow, self._settings)
        if exchange.bypass is None:
            forwarding.ask_for_plain_bytes(flow)  # for the tee

    def fault(self, flow: http.HTTPFlow) -> None:
        """The cache failed on a request, which is sent upstream without it, or refused if it may not be sent there."""
        try:
            self._check_upstream(flow)
        except RequestError as error:
            self.refuse(flow, error)
            return
        if running := self._running.get(flow.id):
            running.exchange.fault()
            flow.request.content = running.exchange.plan.forward  # a batch as a whole
        else:
            self._passing[flow.id] = Bypass(Reason.FAULT)
        forwarding.prepare_to_forward(flow, self._settings)

    def _check_upstream(self, flow: http.HTTPFlow) -> None:
        """Raises RequestError if a request may not go upstream. Its plan may never have been made."""
        headers = flows.lower_headers(flow.request.headers)
        if ban := flow.metadata.get(_FORK_BAN) or policy.upstream_ban(headers, self._settings):
            raise offline_error(ban, "the cache failed on this request; see its log")

    # -- the answer

    async def response_headers(self, flow: http.HTTPFlow) -> None:
        """The answer has begun: stream it to the client, or leave it to `response`, which runs when it is complete."""
        assert flow.response
        running, passing = self._running.get(flow.id), self._passing.pop(flow.id, None)
        if passing:
            result = self._passed(passing, flow.response.status_code)
            responses.pass_through(flow, flow.response, result, self._settings)
        elif running:
            running.marks_end = responses.marks_end(flow.response)
            if streaming.shape_of(flow.response, running.exchange.plan) not in (None, Shape.JSON):
                await streaming.pass_on(flow, flow.response, running.exchange, running.started, self._settings)
        if responses.may_quote_key(flow, flow.response, self._settings):
            flow.response.stream = False  # not even if mitmproxy's `stream_large_bodies` asks for it

    async def slow_answer(self, flow: http.HTTPFlow, response: http.Response) -> None:
        """Stream a slow answer to the client, unless it must be complete first: it answers part of a batch, is a
        failure that an expired entry may replace, or is an error that may quote the operator's key."""
        if responses.may_quote_key(flow, response, self._settings):
            return
        running = self._running.get(flow.id)
        if running is None:
            response.stream = True
            return
        exchange = running.exchange
        if exchange.batch is None and not (judging.is_failure(response.status_code) and exchange.may_be_stale):
            await streaming.pass_on(flow, response, exchange, running.started, self._settings)

    def _passed(self, bypass: Bypass, status: int | None) -> Result:
        result = Result(Outcome.BYPASS, fwd=bypass.fwd, status=status, bypass=bypass)
        self._shared.conclude(result, NOTHING, time.time())
        return result

    async def response(self, flow: http.HTTPFlow) -> None:
        """Keep a complete answer, and settle its exchange even if that fails."""
        running = self._running.get(flow.id)
        if running is None or flow.response is None:
            return
        try:
            if recorder := running.exchange.recorder:
                flow.response.data.content = recorder.body
                answer = replace(running.response(flow.response), ended=running.marks_end)
                await self.keeping.keep(running.exchange, answer, functools.partial(cache_headers.note, flow))
            else:
                await self._answer_whole(flow, flow.response, running)
        except BaseException:
            running.exchange.settle(FAULT, time.time())
            raise
        finally:
            self._running.pop(flow.id, None)
            streaming.drop_tee(flow.response)

    async def _answer_whole(self, flow: http.HTTPFlow, response: http.Response, running: Running) -> None:
        exchange = running.exchange
        # A body that does not decode is passed on unchanged, and is not stored. TypeError: a coding that mitmproxy
        # misunderstands.
        with contextlib.suppress(ValueError, TypeError):
            response.decode()
        if exchange.batch and not exchange.batch.is_whole:
            flow.request.content = exchange.plan.forward  # what the client sent, for people who look at the flow
        answer = running.response(response)
        if judging.is_failure(answer.status):
            stale = await exchange.on_failure(answer)
            if isinstance(stale, ServeStale):
                self._serve_stale(flow, exchange, stale)
                return
        parts: Sequence[Entry] = ()
        if exchange.batch and answer.status == 200:
            joined = await exchange.join(answer)
            if isinstance(joined, Fail):
                error = responses.upstream_error(flow, 502, joined.skipped.detail)
                self._answer_error(flow, error, exchange.settle(joined, time.time()))
                return
            response.content, parts = joined.body, joined.parts
            answer = running.response(response)
        kept = await exchange.on_response(answer, parts)
        cache_headers.tell(flow, response, exchange.settle(kept, time.time()), self._settings)

    def _serve_stale(self, flow: http.HTTPFlow, exchange: Exchange, stale: ServeStale) -> Result:
        now = time.time()
        self._answer(flow, exchange, stale, now)
        return exchange.settle(stale, now)

    async def error(self, flow: http.HTTPFlow) -> None:
        """The upstream failed, or the client left."""
        self._replayer.forget(flow)
        running, passing = self._running.get(flow.id), self._passing.pop(flow.id, None)
        result = _UNKNOWN
        try:
            if passing:
                result = self._passed(passing, None)
            elif running:
                result = await self._failed(flow, running)
                cache_headers.note(flow, result)
            elif CLIENT_FAULT in flow.metadata and flow.response is None:
                self._refused(flow, _client_fault(flow))
        finally:
            self._running.pop(flow.id, None)
            if running:
                running.exchange.settle(FAULT, time.time())
            status = flow.metadata.get(UPSTREAM_FAULT)
            if status and flow.response is None and flow.error:
                self._answer_error(flow, responses.upstream_error(flow, status, flow.error.msg), result)
            if flow.response:
                streaming.drop_tee(flow.response)

    async def _failed(self, flow: http.HTTPFlow, running: Running) -> Result:
        exchange = running.exchange
        if flow.response and exchange.recorder and exchange.may_be_whole:
            flow.response.data.content = exchange.recorder.body
            kept = await exchange.on_response(running.response(flow.response))
            return exchange.settle(kept, time.time())
        ending: Ending = await exchange.on_failure() if UPSTREAM_FAULT in flow.metadata else exchange.on_client_left()
        if CLIENT_FAULT in flow.metadata:
            ending = Refuse(_client_fault(flow))
        if isinstance(ending, ServeStale):
            return self._serve_stale(flow, exchange, ending)
        return exchange.settle(ending, time.time())

    async def client_left(self, client_id: str) -> None:
        """Wait while followers need this client's upstream calls: its connections are closed when this returns."""
        self._expected.pop(client_id, None)
        leads = [one.exchange.lead for one in self._running.values() if one.client_id == client_id]
        for lead in filter(None, leads):
            await lead.flight.landed_or_unwanted(self.upstream_timeout())

    def close(self) -> None:
        """Settle what has not ended."""
        for running in self._running.values():
            running.exchange.settle(running.exchange.on_client_left(), time.time())
        self._running.clear()
        self._shared.leases.close()


def _note_step(shown: weakref.ref[http.HTTPFlow], run: str, number: int | None) -> None:
    """Note the step of a flow, unless nothing shows it any more. Calls are recorded once a second; until then, a strong
    reference would keep the flow with all its screenshots."""
    if (flow := shown()) is not None:
        cache_headers.note_step(flow, run, number)


def _client_fault(flow: http.HTTPFlow) -> RequestError:
    """The error that the HTTP layer has already answered with."""
    return RequestError(400, flow.metadata[CLIENT_FAULT])
