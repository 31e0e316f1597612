"""Helper routes in the proxy: answers are recorded as they pass, and replayed if the request may not go upstream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mitmproxy import http
from msgspec.structs import replace

from computer_use_cache.cache import helper_answers
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.lookup import offline_error
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.exchange.result import Result
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.models import NOTHING, Outcome, Request, Response
from computer_use_cache.proxy import cache_headers, flows, responses
from computer_use_cache.proxy.content_coding import body_of

_MODEL = "(helper routes)"
"""The row of the statistics in which these hits are counted."""


class HelperRoutes:
    """The requests to helper routes that have no answer yet."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._cache = shared.cache
        self._asked: dict[str, Request] = {}
        """By flow, as the caller sent them: upstream they may bear the operator's credential."""
        self._passed: dict[str, list[bytes]] = {}
        """The pieces of an answer that is passed on as it comes."""

    def begin(self, flow: http.HTTPFlow) -> bool:
        """Take a request to a helper route whose headers have arrived; whether it may go upstream. Raises
        RequestError."""
        request = flows.request_of(flow, self._cache.settings)
        controls = helper_answers.controls_of(self._cache, request)
        self._asked[flow.id] = request
        return controls.upstream

    async def answer(self, flow: http.HTTPFlow) -> bool:
        """Answer with what was recorded if the request may not go upstream. Raises RequestError if nothing was."""
        asked = self._asked.get(flow.id)
        if asked is None:
            return False
        has_body = bool(flow.request.raw_content)
        request = self._asked[flow.id] = replace(asked, body=body_of(flow.request)) if has_body else asked
        controls = helper_answers.controls_of(self._cache, request)
        if controls.upstream:
            return False
        now = time.time()
        try:
            entry = await asyncio.to_thread(
                helper_answers.find, self._cache, flow.request.method, request, controls, now
            )
        except (FormatError, StoreError) as error:
            raise offline_error(controls.upstream_ban, str(error)) from None
        if entry is None:
            raise offline_error(controls.upstream_ban, f"no answer was recorded for this {flow.request.method}")
        response = http.Response.make(200, entry.body, dict(entry.headers))
        result = Result(Outcome.HIT, _MODEL, entry.key, age=max(int(now - entry.created_at), 0), saved=NOTHING)
        self._shared.conclude(result, NOTHING, now)
        cache_headers.tell(flow, response, result, self._cache.settings)
        flows.answer(flow, response)
        return True

    def listen(self, flow: http.HTTPFlow) -> None:
        """Keep the pieces of an answer that is passed on as it comes."""
        response = flow.response
        if flow.id in self._asked and response and response.stream is True:
            if helper_answers.may_be_kept(response.status_code, response.headers.get("content-type", "")):
                response.stream = self._keeping(flow)
            else:
                self.forget(flow)

    def _keeping(self, flow: http.HTTPFlow) -> Callable[[bytes], bytes]:
        pieces = self._passed[flow.id] = []
        most, size = self._cache.settings.max_response_chars, 0

        def keep(chunk: bytes) -> bytes:
            nonlocal size
            size += len(chunk)
            if size <= most:
                pieces.append(chunk)
            else:
                pieces.clear()
                self.forget(flow)
            return chunk

        return keep

    async def record(self, flow: http.HTTPFlow) -> None:
        """Record a complete answer."""
        asked, passed = self._asked.pop(flow.id, None), self._passed.pop(flow.id, None)
        if asked is None or flow.response is None or flows.is_own_answer(flow):
            return
        whole = flow.response.copy()
        if passed is not None:
            whole.raw_content = b"".join(passed)
        try:
            await self._shared.run.write(_record, self._cache, flow.request, asked, whole, self._shared.run.now())
        except StoreError as error:
            self._shared.storing.failed(error)

    def forget(self, flow: http.HTTPFlow) -> None:
        """The exchange is over without an answer to record."""
        self._asked.pop(flow.id, None)
        self._passed.pop(flow.id, None)


def _record(cache: Cache, sent: http.Request, asked: Request, answer: http.Response, now: float) -> None:
    """Record an answer, which is a copy to change. Slow."""
    try:
        body = answer.get_content(strict=True) or b""
    except (ValueError, TypeError):
        return  # it does not decode
    answer.headers.pop("transfer-encoding", None)  # it may be our own
    ended = sent.method == "HEAD" or responses.marks_end(answer)
    took = max((answer.timestamp_end or time.time()) - sent.timestamp_start, 0.0)
    complete = Response(answer.status_code, flows.lower_headers(answer.headers), body, took, ended=ended)
    helper_answers.record(cache, sent.method, asked, complete, now)
