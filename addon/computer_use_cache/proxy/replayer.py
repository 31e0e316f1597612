"""Answers that do not come from upstream: a hit as one body or paced, the live stream of a leader, a leader's error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from mitmproxy import http

from computer_use_cache.cache.pacing import schedule
from computer_use_cache.cache.plan import Plan
from computer_use_cache.flights.flight import Flight, Stream, StreamCut
from computer_use_cache.models import Entry, Outcome, Response, Shape
from computer_use_cache.proxy import cache_headers, flows, responses
from computer_use_cache.proxy.http.layer import Feed
from computer_use_cache.settings import Settings

_CONTENT_TYPES = {
    Shape.JSON: "application/json; charset=utf-8",
    Shape.SSE: "text/event-stream; charset=utf-8",
    Shape.ARRAY: "application/json; charset=utf-8",
}


class Replayer:
    """Sets the responses of flows; what is streamed is kept until the layer asks for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._feeds: dict[str, Feed] = {}

    def feed_of(self, flow: http.HTTPFlow) -> Feed | None:
        """The feed of a flow's answer, once."""
        return self._feeds.pop(flow.id, None)

    def serve(
        self,
        flow: http.HTTPFlow,
        plan: Plan,
        entry: Entry,
        pieces: list[bytes],
        *,
        outcome: Outcome,
        now: float,
        forwarded: str = "",
    ) -> None:
        """Answer with an entry in the shape the plan wants, `pieces` of which are the body.

        `forwarded` are the parameters of Cache-Status that tell how the upstream failed (STALE).
        """
        headers, told = _head(plan, entry, outcome, now, forwarded)
        # mitmproxy asks again through a layer of its own; and who has waited for an upstream that failed waits no more.
        is_at_once = flow.is_replay or outcome is Outcome.STALE
        if not is_at_once and (paced := self.paced(plan, entry, pieces)):
            self._stream(flow, headers, told, _paced(paced))
        else:
            response = http.Response.make(200, b"".join(pieces), headers)
            cache_headers.tell(flow, response, told, self._settings)
            flows.answer(flow, response)
        if outcome is Outcome.HIT:
            flow.metadata[cache_headers.SAVED_SECONDS] = round(entry.seconds, 3)
        if outcome is not Outcome.MISS:
            flow.metadata[cache_headers.SAVED_USD] = entry.usd

    def paced(self, plan: Plan, entry: Entry, pieces: list[bytes]) -> list[tuple[float, bytes]]:
        """The seconds to wait before each piece, and the piece; empty for an answer that is sent at once."""
        return schedule(self._settings.replay_speed, plan.shape, pieces, entry)

    def hit(self, plan: Plan, entry: Entry, pieces: list[bytes], now: float) -> bytes:
        """A hit that is sent at once and is no flow, as HTTP/1.1."""
        headers, told = _head(plan, entry, Outcome.HIT, now)
        body = cache_headers.with_metadata(b"".join(pieces), headers["content-type"], told, self._settings)
        body = responses.without_key(body, self._settings)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        told_lines = cache_headers.hit_lines(told)
        head = f"HTTP/1.1 200 OK\r\n{lines}content-length: {len(body)}\r\n{told_lines}\r\n"
        return head.encode("utf-8", "surrogateescape") + body

    def serve_live(self, flow: http.HTTPFlow, plan: Plan, stream: Stream, flight: Flight) -> None:
        """Answer with a leader's stream: what it has had so far, then each chunk as it comes."""
        told = cache_headers.Told(Outcome.MISS, "fwd=miss; collapsed", plan.key)
        self._stream(flow, dict(stream.headers), told, flight.tail())

    def serve_error(self, flow: http.HTTPFlow, plan: Plan, response: Response) -> None:
        """Answer with the error that the leader's upstream gave."""
        headers = {name: value for name, value in response.headers.items() if name in ("content-type", "retry-after")}
        shared = http.Response.make(response.status, response.body, headers)
        status = f"fwd=miss; fwd-status={response.status}; collapsed"
        cache_headers.tell(flow, shared, cache_headers.Told(Outcome.MISS, status, plan.key), self._settings)
        flows.answer(flow, shared)

    def _stream(
        self, flow: http.HTTPFlow, headers: dict[str, str], told: cache_headers.Told, pieces: AsyncIterator[bytes]
    ) -> None:
        response = http.Response.make(200, b"", headers)
        del response.headers["content-length"]
        responses.delimit(flow.request, response)
        cache_headers.tell(flow, response, told, self._settings)
        flows.answer(flow, response)
        self._feeds[flow.id] = Feed(pieces)


def _head(
    plan: Plan, entry: Entry, outcome: Outcome, now: float, forwarded: str = ""
) -> tuple[dict[str, str], cache_headers.Told]:
    """The headers of an entry's answer, and what is told of it."""
    headers = dict(entry.headers)
    if plan.shape is not entry.shape or "content-type" not in headers:
        headers["content-type"] = _CONTENT_TYPES[plan.shape]
    headers["age"] = age = str(max(int(now - entry.created_at), 0))
    ttl = "" if entry.expires_at is None else f"; ttl={int(entry.expires_at - now)}"
    match outcome:
        case Outcome.HIT:
            status = f"hit{ttl}"
        case Outcome.STALE:
            status = f"fwd=stale{forwarded}{ttl}"
        case _:
            status = "fwd=miss; collapsed"
    return headers, cache_headers.Told(outcome, status, plan.key, age=age)


async def next_chunk(feed: Feed) -> None:
    """Wait for a feed's next chunk."""
    try:
        feed.chunk = await anext(feed.pieces)
    except StopAsyncIteration:
        feed.chunk = None
    except StreamCut:
        feed.chunk, feed.cut = None, True


async def _paced(pieces: list[tuple[float, bytes]]) -> AsyncIterator[bytes]:
    for wait, piece in pieces:
        await asyncio.sleep(wait)
        yield piece
