"""Sets responses that do not come from the flow's own upstream call: an entry, at once or paced; the live stream or the
error of another call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from mitmproxy import http

from computer_use_cache.cache.pacing import schedule
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.exchange.rendering import hit_lines
from computer_use_cache.exchange.result import Result, of_hit
from computer_use_cache.flights.flight import Flight, Stream, StreamCut
from computer_use_cache.formats import aws_events
from computer_use_cache.models import Entry, Outcome, Response, Shape
from computer_use_cache.proxy import backpressure, cache_headers, flows, responses
from computer_use_cache.proxy.http.owner import Feed
from computer_use_cache.settings import Settings

_CONTENT_TYPES = {
    Shape.JSON: "application/json; charset=utf-8",
    Shape.SSE: "text/event-stream; charset=utf-8",
    Shape.ARRAY: "application/json; charset=utf-8",
    Shape.LINES: "application/x-ndjson",
    Shape.RAW: "application/octet-stream",
    Shape.AWS: aws_events.CONTENT_TYPE,
}


class Replayer:
    """Sets the responses of flows, and keeps a streamed body until the layer asks for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._feeds: dict[str, Feed] = {}

    def feed_of(self, flow: http.HTTPFlow) -> Feed | None:
        """The feed of a flow's answer, handed out once."""
        return self._feeds.pop(flow.id, None)

    def forget(self, flow: http.HTTPFlow) -> None:
        """Drop the body of an answer that will not be sent: its client has left."""
        self._feeds.pop(flow.id, None)

    def serve(self, flow: http.HTTPFlow, plan: Plan, entry: Entry, pieces: Sequence[bytes], result: Result) -> None:
        """Answer with an entry in the shape that the plan asks for; `pieces` are the body."""
        headers = _headers(plan, entry, result)
        # mitmproxy replays flows through a layer of its own. A client that waited for a failed upstream waits no more.
        is_at_once = flow.is_replay or result.outcome is Outcome.STALE
        if not is_at_once and (paced := self.paced(plan, entry, pieces)):
            if plan.shape is Shape.JSON:
                [(wait, body)] = paced
                paced = [(wait, cache_headers.with_metadata(body, headers["content-type"], result, self._settings))]
            self._stream(flow, headers, result, _paced(paced))
        else:
            response = http.Response.make(200, b"".join(pieces), headers)
            cache_headers.tell(flow, response, result, self._settings)
            flows.answer(flow, response)

    def paced(self, plan: Plan, entry: Entry, pieces: Sequence[bytes]) -> list[tuple[float, bytes]]:
        """(seconds to wait, piece) for each piece; empty for an answer that is sent at once."""
        return schedule(self._settings.replay_speed, plan.shape, pieces, entry)

    def hit(self, plan: Plan, serve: Serve, now: float) -> bytes:
        """The HTTP/1.1 response of a hit that is sent at once and is no flow."""
        result = of_hit(plan.key, plan.model, serve, now)
        headers = _headers(plan, serve.entry, result)
        body = cache_headers.with_metadata(b"".join(serve.pieces), headers["content-type"], result, self._settings)
        body = responses.without_key(body, self._settings)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"HTTP/1.1 200 OK\r\n{lines}content-length: {len(body)}\r\n{hit_lines(result)}\r\n"
        return head.encode("utf-8", "surrogateescape") + body

    def serve_live(self, flow: http.HTTPFlow, stream: Stream, flight: Flight, result: Result) -> None:
        """Answer with a leader's stream: its chunks so far, then each one as it arrives."""
        self._stream(flow, dict(stream.headers), result, flight.tail())

    def serve_error(self, flow: http.HTTPFlow, response: Response, result: Result) -> None:
        """Answer with the error that the leader's upstream gave."""
        headers = {name: value for name, value in response.headers.items() if name in ("content-type", "retry-after")}
        shared = http.Response.make(response.status, response.body, headers)
        cache_headers.tell(flow, shared, result, self._settings)
        flows.answer(flow, shared)

    def _stream(
        self, flow: http.HTTPFlow, headers: dict[str, str], result: Result, pieces: AsyncIterator[bytes]
    ) -> None:
        response = http.Response.make(200, b"", headers)
        del response.headers["content-length"]
        responses.delimit(flow.request, response)
        cache_headers.tell(flow, response, result, self._settings)
        flows.answer(flow, response)
        self._feeds[flow.id] = Feed(flow.client_conn.id, pieces)


def _headers(plan: Plan, entry: Entry, result: Result) -> dict[str, str]:
    """The headers of an entry's answer, those of the cache aside."""
    headers = dict(entry.headers)
    if plan.shape is not entry.shape or "content-type" not in headers:
        headers["content-type"] = _CONTENT_TYPES[plan.shape]
    headers["age"] = str(result.age)
    return headers


async def next_chunk(feed: Feed) -> None:
    """Wait until the client has room for a feed's next chunk, and for the chunk."""
    await backpressure.client_reads(feed.client_id)
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
