"""Passes an upstream's answer on to the client while it arrives, and has it recorded."""

from __future__ import annotations

from mitmproxy import http

from computer_use_cache.cache import judging
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.flights.flight import Stream
from computer_use_cache.models import Shape
from computer_use_cache.proxy import cache_headers, responses
from computer_use_cache.proxy.tee import decoder, tee
from computer_use_cache.settings import Settings


def shape_of(response: http.Response, plan: Plan) -> Shape | None:
    """The shape of an answer whose head has arrived; None if it is an error or no shape that an API sends."""
    shape = judging.shape_of(response.headers.get("content-type", ""), plan.shape)
    return shape if response.status_code == 200 else None


async def pass_on(
    flow: http.HTTPFlow, response: http.Response, exchange: Exchange, started: float, settings: Settings
) -> None:
    """Stream an answer to the call that `started` at this monotonic time. Followers can join it if it has a shape."""
    headers, shape = response.headers, shape_of(response, exchange.plan)
    coding = headers.get("content-encoding")
    decode = decoder(coding) if coding else None
    if decode:
        del headers["content-encoding"]
        headers.pop("content-length", None)
    stream = None
    if shape and (decode or coding is None):
        stream = Stream(shape, exchange.plan.with_usage, (("content-type", headers["content-type"]),))
    result = await exchange.begin_stream(response.status_code, started, stream)
    already = response.stream
    response.stream = tee(exchange, decode, already if callable(already) else None)
    responses.delimit(flow.request, response)
    cache_headers.tell(flow, response, result, settings)


def drop_tee(response: http.Response) -> None:
    """Take the tee from an answer that has ended: it refers to the flow, which would stay in memory with it."""
    if callable(response.stream):
        response.stream = True
