"""Follows the upstream call of an identical request: joins its stream, or waits for its end and shares the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from computer_use_cache.cache import judging
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Again, Follow, Forward, Join, ServeStale, Share, ShareError
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.flights.flight import Flight, Released, Stream
from computer_use_cache.flights.sender import Sender
from computer_use_cache.models import Entry, Response


async def follow(
    shared: Shared, plan: Plan, decision: Follow, is_here: Callable[[], bool], *, joins: bool
) -> Join | Share | ShareError | ServeStale | Forward | Again:
    """Wait for the leader's answer; Forward if it does not fit this request. `is_here` and `joins` are as in
    `Exchange`."""
    flight, forward = decision.flight, Forward(decision.absent)
    flight.follow(is_here)
    begun = await flight.begun()
    if isinstance(begun, Stream) and flight.is_closed:
        return Again.AGAIN
    if isinstance(begun, Stream) and flight.has_ended:
        # The stream may have ended before this request was sent, so the store decides whether it is an answer.
        await flight.landed()
        return Again.AGAIN
    if isinstance(begun, Stream) and joins and _passes_unchanged(flight, begun, plan):
        return Join(begun, flight)
    landing = await flight.landed()
    match landing:
        case Entry():
            return await _share(shared, plan, landing) or forward
        case Response() if _may_share_error(flight, plan):
            stale = await _stale(shared, plan, landing.status) if judging.is_failure(landing.status) else None
            return stale or ShareError(landing)
        case Released.FAILED:
            return await _stale(shared, plan, None) or forward
        case Released.ALONE | Response():
            return forward
        case Released.TOGETHER:
            return Again.AGAIN
        case _:
            assert_never(landing)


def _passes_unchanged(flight: Flight, stream: Stream, plan: Plan) -> bool:
    """Whether the leader's stream can be passed on unchanged. It may repeat the credentials in the leader's body."""
    has_same_values = not plan.has_own_values and flight.sender.body == Sender.of(plan).body
    return stream.suits(plan.shape, plan.with_usage) and has_same_values


def _may_share_error(flight: Flight, plan: Plan) -> bool:
    """Whether the leader's error is one for this request too. It may be about the leader's account, such as a key that
    was revoked, and it may quote the credentials in its request."""
    return not plan.secrets and flight.sender == Sender.of(plan)


async def _share(shared: Shared, plan: Plan, entry: Entry) -> Share | None:
    found = await shared.run.read(shared.decider.share, plan, entry)
    return Share(found.entry, found.pieces) if found else None


async def _stale(shared: Shared, plan: Plan, status: int | None) -> ServeStale | None:
    return await shared.run.read(shared.decider.stale, plan, shared.run.now(), status, collapsed=True)
