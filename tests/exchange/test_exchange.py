"""Whole lives of requests, without a proxy: each ends in exactly one outcome, and releases its followers."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.accounting.statistics import Statistics
from computer_use_cache.errors import StoreError
from computer_use_cache.exchange.decisions import (
    Bypassed,
    Fail,
    Forward,
    Join,
    Joined,
    Refuse,
    Serve,
    ServeStale,
    Share,
    ShareError,
    Stored,
    Updated,
)
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.result import Storing
from computer_use_cache.exchange.states import NEXT, State
from computer_use_cache.flights.flight import StreamCut
from computer_use_cache.models import Entry, Fwd, Outcome, Reason, Response, Skip, Skipped
from computer_use_cache.store.disk import DiskStore
from credential_samples import token
from exchange.house import EVENTS, GOOD, STREAM, House, failure

type Life = Callable[[House], Awaitable[None]]


def total(counted: Statistics) -> int:
    served = counted.hits + counted.misses + counted.stale + counted.coalesced
    return served + sum(counted.bypasses.values()) + counted.refusals


async def followed(house: House, number: int = 1, **fields: Any) -> tuple[Exchange, list[asyncio.Task[Any]]]:
    """A request that leads, and others that wait for it."""
    leader = house.asks(**fields)
    assert isinstance(await leader.resolve(), Forward)
    followers = [house.asks(**fields) for _ in range(number)]
    tasks = [asyncio.create_task(follower.resolve()) for follower in followers]
    while not all(follower.state is State.FOLLOWING for follower in followers):
        await asyncio.sleep(0)
    for task, follower in zip(tasks, followers, strict=True):
        task.exchange = follower  # type: ignore[attr-defined]
    return leader, tasks


# -- lives: each leaves its requests settled


async def miss_then_hit(house: House) -> None:
    result = await house.answered(house.asks())
    assert (result.outcome, result.fwd, result.status, result.storing) == (
        Outcome.MISS,
        Fwd.URI_MISS,
        200,
        Storing.STORED,
    )
    house.now += 5
    result = await house.resolved(house.asks())
    assert (result.outcome, result.age, result.ttl, result.fwd) == (Outcome.HIT, 5, 2_592_000 - 5, None)
    result = await house.resolved(house.asks(stream=True))
    assert result.outcome is Outcome.HIT


async def an_expired_entry_is_asked_for_again(house: House) -> None:
    await house.answered(house.asks({"x-cache-ttl": "10"}))
    house.now += 10
    result = await house.answered(house.asks())
    assert (result.fwd, result.storing) == (Fwd.STALE, Storing.UPDATED)


async def a_client_that_wants_no_stored_answer(house: House) -> None:
    await house.answered(house.asks())
    house.now += 10
    for control in ("no-cache", "max-age=5"):
        result = await house.answered(house.asks({"cache-control": control}))
        assert (result.outcome, result.fwd, result.said) == (Outcome.MISS, Fwd.REQUEST, f"Cache-Control: {control}")
        house.now += 10


async def a_bypass(house: House) -> None:
    exchange = house.asks({"x-cache-bypass": "1"})
    assert isinstance(await exchange.resolve(), Forward)
    kept = await exchange.on_response(GOOD)
    assert isinstance(kept, Bypassed)
    assert exchange.settle(kept, house.now).fwd is Fwd.BYPASS


async def a_bypass_whose_upstream_fails(house: House) -> None:
    exchange = house.asks({"x-cache-bypass": "1"})
    await exchange.resolve()
    result = exchange.settle(await exchange.on_failure(), house.now)
    assert (result.outcome, result.storing) == (Outcome.BYPASS, None)


async def a_credential_that_cannot_be_replaced(house: House) -> None:
    exchange = house.asks(text=f"my token is {token('a1B2')}, not <secret 1>")
    assert isinstance(await exchange.resolve(), Forward)
    result = exchange.settle(await exchange.on_response(GOOD), house.now)
    assert (result.outcome, result.key, result.bypass and result.bypass.reason) == (
        Outcome.BYPASS,
        "",
        Reason.CREDENTIAL,
    )


async def followers_share_an_answer(house: House) -> None:
    leader, tasks = await followed(house, 3)
    result = leader.settle(await leader.on_response(GOOD), house.now)
    assert result.outcome is Outcome.MISS
    for task in tasks:
        share = await task
        assert isinstance(share, Share)
        result = task.exchange.settle(share, house.now)  # type: ignore[attr-defined]
        assert (result.outcome, result.collapsed, result.fwd) == (Outcome.COALESCED, True, Fwd.URI_MISS)
    assert house.counted().models["gpt-test"].saved.input_tokens == 3 * 5


async def followers_share_an_error(house: House) -> None:
    leader, (follower,) = await followed(house)
    leader.settle(await leader.on_response(failure(429)), house.now)
    error = await follower
    assert isinstance(error, ShareError)
    result = follower.exchange.settle(error, house.now)  # type: ignore[attr-defined]
    assert (result.outcome, result.status, result.collapsed) == (Outcome.COALESCED, 429, True)


async def a_leader_whose_upstream_fails_leaves_each_follower_to_itself(house: House) -> None:
    leader, tasks = await followed(house, 2)
    result = leader.settle(await leader.on_failure(), house.now)
    assert result.storing == Skipped(Skip.UPSTREAM, Skip.UPSTREAM)
    for task in tasks:
        assert isinstance(await task, Forward)
        exchange = task.exchange  # type: ignore[attr-defined]
        exchange.settle(await exchange.on_response(GOOD), house.now)


async def a_leader_whose_client_leaves_is_succeeded_by_one_follower(house: House) -> None:
    leader, tasks = await followed(house, 3)
    result = leader.settle(leader.on_client_left(), house.now)
    assert (result.outcome, result.storing) == (Outcome.MISS, Skipped(Skip.CLIENT, Skip.CLIENT))
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    (successor,) = done
    assert isinstance(successor.result(), Forward)
    exchange = successor.exchange  # type: ignore[attr-defined]
    exchange.settle(await exchange.on_response(GOOD), house.now)
    for task in waiting:
        answer = await task
        assert isinstance(answer, Share | Serve)  # one that looks into the store late finds the answer there
        task.exchange.settle(answer, house.now)  # type: ignore[attr-defined]


async def a_leader_that_the_cache_fails_releases_its_followers(house: House) -> None:
    leader, (follower,) = await followed(house)
    leader.fault()
    assert isinstance(await follower, Forward)
    result = leader.settle(await leader.on_response(GOOD), house.now)
    assert (result.outcome, result.bypass and result.bypass.reason) == (Outcome.BYPASS, Reason.FAULT)
    exchange = follower.exchange  # type: ignore[attr-defined]
    exchange.settle(await exchange.on_response(GOOD), house.now)


async def a_stream_is_joined_while_it_runs(house: House) -> None:
    leader = house.asks(stream=True)
    await leader.resolve()
    result = await leader.begin_stream(200, 0.0, STREAM)
    assert (result.outcome, result.storing) == (Outcome.MISS, Storing.PENDING)
    leader.feed(EVENTS[0], 0.1)
    follower = house.asks(stream=True)
    join = await follower.resolve()
    assert isinstance(join, Join)
    follower.settle(join, house.now)
    for number, event in enumerate(EVENTS[1:]):
        leader.feed(event, 0.2 + number)
    leader.feed(b"", 9.0)
    assert leader.recorder
    whole = Response(200, {"content-type": "text/event-stream"}, leader.recorder.body, 9.0)
    kept = await leader.on_response(whole)
    assert isinstance(kept, Stored)
    leader.settle(kept, house.now)
    assert b"".join([piece async for piece in join.flight.tail()]) == b"".join(EVENTS)


async def a_stream_that_has_ended_is_not_joined_but_served_when_it_is_stored(house: House) -> None:
    leader = house.asks(stream=True)
    await leader.resolve()
    await leader.begin_stream(200, 0.0, STREAM)
    for chunk in (*EVENTS, b""):
        leader.feed(chunk, 0.1)
    late = house.asks(stream=True)
    task = asyncio.create_task(late.resolve())
    while late.state is not State.FOLLOWING:
        await asyncio.sleep(0)
    assert leader.recorder
    whole = Response(200, {"content-type": "text/event-stream"}, leader.recorder.body, 9.0)
    leader.settle(await leader.on_response(whole), house.now)
    serve = await task
    assert isinstance(serve, Serve)
    assert late.settle(serve, house.now).outcome is Outcome.HIT


async def a_stream_too_large_to_store_reaches_its_followers_but_is_joined_no_more(house: House) -> None:
    leader = house.asks(stream=True)
    await leader.resolve()
    await leader.begin_stream(200, 0.0, STREAM)
    leader.feed(EVENTS[0], 0.1)
    early = house.asks(stream=True)
    join = await early.resolve()
    assert isinstance(join, Join)
    early.settle(join, house.now)
    pieces = join.flight.tail()
    assert await anext(pieces) == EVENTS[0]
    leader.feed(b" " * 20_000_000, 0.2)
    await house.answered(house.asks(stream=True))
    for chunk in (*EVENTS[1:], b""):
        leader.feed(chunk, 0.3)
    result = leader.settle(await leader.on_response(Response(200, {}, b"", 9.0)), house.now)
    assert result.storing == Skipped(Skip.TOO_LARGE, Skip.TOO_LARGE)
    assert (b"".join([piece async for piece in pieces])).strip() == b"".join(EVENTS[1:]).strip()


async def a_request_that_waits_for_a_stream_that_cannot_be_recorded_makes_its_own_call(house: House) -> None:
    leader, [follower] = await followed(house, stream=True)
    await leader.begin_stream(200, 0.0, STREAM)
    leader.give_up(Skip.CODING)
    assert isinstance(await follower, Forward)
    exchange = follower.exchange  # type: ignore[attr-defined]
    exchange.settle(await exchange.on_response(GOOD), house.now)
    leader.settle(await leader.on_response(Response(200, {}, b"", 9.0)), house.now)


async def a_stream_that_breaks_off_is_broken_for_its_followers(house: House) -> None:
    leader = house.asks(stream=True)
    await leader.resolve()
    await leader.begin_stream(200, 0.0, STREAM)
    leader.feed(EVENTS[0], 0.1)
    follower = house.asks(stream=True)
    join = await follower.resolve()
    assert isinstance(join, Join)
    follower.settle(join, house.now)
    leader.settle(await leader.on_failure(), house.now)
    with pytest.raises(StreamCut):
        [piece async for piece in join.flight.tail()]


async def a_batch_asks_for_what_is_not_known(house: House) -> None:
    first = house.embeds("a", "b")
    await first.resolve()
    joined = await first.join(vectors(2))
    assert isinstance(joined, Joined)
    first.settle(await first.on_response(vectors(2), joined.parts), house.now)
    second = house.embeds("b", "c")
    forward = await second.resolve()
    assert isinstance(forward, Forward)
    assert forward.absent.fwd is Fwd.PARTIAL
    joined = await second.join(vectors(1))
    assert isinstance(joined, Joined)
    whole = Response(200, GOOD.headers, joined.body, 1.0)
    assert second.settle(await second.on_response(whole, joined.parts), house.now).fwd is Fwd.PARTIAL
    assert (await house.resolved(house.embeds("c", "a"))).outcome is Outcome.HIT


async def a_batch_that_cannot_be_joined(house: House) -> None:
    await house.answered(house.embeds("a"), vectors(1))
    exchange = house.embeds("a", "b")
    await exchange.resolve()
    failed = await exchange.join(vectors(5))
    assert isinstance(failed, Fail)
    result = exchange.settle(failed, house.now)
    assert (result.outcome, isinstance(result.storing, Skipped) and result.storing.reason) == (Outcome.MISS, Skip.BATCH)


def vectors(number: int) -> Response:
    data = [{"object": "embedding", "index": index, "embedding": [1.0]} for index in range(number)]
    body = json.dumps({"object": "list", "data": data, "model": "e", "usage": {}}).encode()
    return Response(200, GOOD.headers, body, 1.0)


async def an_answer_that_is_not_stored(house: House) -> None:
    for response, skip in (
        (failure(500), Skip.STATUS),
        (Response(200, {"content-type": "text/html"}, b"<html>", 1.0), Skip.CONTENT_TYPE),
        (Response(200, GOOD.headers, b"{}", 1.0), Skip.MALFORMED),
        (Response(200, GOOD.headers, b" " * 20_000_000, 1.0), Skip.TOO_LARGE),
    ):
        result = await house.answered(house.asks(), response)
        assert isinstance(result.storing, Skipped)
        assert result.storing.reason is skip
    result = await house.answered(house.asks({"cache-control": "no-store"}))
    assert result.storing == Skipped("Cache-Control: no-store forbids storing", Skip.FORBIDDEN)


async def a_refusal(house: House) -> None:
    refusal = await house.asks({"cache-control": "only-if-cached"}).resolve()
    assert isinstance(refusal, Refuse)
    house.begun -= 1
    result = await house.resolved(house.asks({"cache-control": "only-if-cached"}))
    assert (result.outcome, result.fwd) == (Outcome.REFUSED, None)


async def a_second_settling_changes_nothing(house: House) -> None:
    exchange = house.asks()
    await exchange.resolve()
    kept = await exchange.on_response(GOOD)
    exchange.settle(kept, house.now)
    exchange.settle(Fail(Skipped(Skip.FAULT, Skip.FAULT)), house.now)
    assert house.counted().stored == 1


LIVES: list[Life] = [
    miss_then_hit,
    an_expired_entry_is_asked_for_again,
    a_client_that_wants_no_stored_answer,
    a_bypass,
    a_bypass_whose_upstream_fails,
    a_credential_that_cannot_be_replaced,
    followers_share_an_answer,
    followers_share_an_error,
    a_leader_whose_upstream_fails_leaves_each_follower_to_itself,
    a_leader_whose_client_leaves_is_succeeded_by_one_follower,
    a_leader_that_the_cache_fails_releases_its_followers,
    a_stream_is_joined_while_it_runs,
    a_stream_that_has_ended_is_not_joined_but_served_when_it_is_stored,
    a_stream_too_large_to_store_reaches_its_followers_but_is_joined_no_more,
    a_request_that_waits_for_a_stream_that_cannot_be_recorded_makes_its_own_call,
    a_stream_that_breaks_off_is_broken_for_its_followers,
    a_batch_asks_for_what_is_not_known,
    a_batch_that_cannot_be_joined,
    an_answer_that_is_not_stored,
    a_refusal,
    a_second_settling_changes_nothing,
]


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_every_request_of_a_life_ends_in_one_outcome(
    house: House, life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "computer_use_cache.exchange.shared")
    asyncio.run(asyncio.wait_for(life(house), 30))
    counted = house.counted()
    assert total(counted) == house.begun
    assert counted.stored + sum(counted.skips.values()) == counted.misses
    lines = [record for record in caplog.records if record.name == "computer_use_cache.exchange.shared"]
    assert len(lines) == house.begun, "one line for every decision"
    assert house.shared.flights._by_key == {}


@pytest.mark.parametrize("response", [None, failure(503), failure(429)], ids=["no answer", "503", "429"])
def test_an_expired_entry_stands_in_for_an_upstream_that_fails(tmp_path: Path, response: Response | None) -> None:
    house = House(tmp_path, CACHE_TTL_SECONDS="10", CACHE_STALE_IF_ERROR_SECONDS="100")

    async def live() -> None:
        await house.answered(house.asks())
        house.now += 20
        leader, (follower,) = await followed(house)
        stale = await leader.on_failure(response)
        assert isinstance(stale, ServeStale)
        result = leader.settle(stale, house.now)
        assert (result.outcome, result.ttl, result.collapsed) == (Outcome.STALE, -10, False)
        assert result.status == (response.status if response else None)
        stale = await follower
        assert isinstance(stale, ServeStale)
        result = follower.exchange.settle(stale, house.now)  # type: ignore[attr-defined]
        assert (result.outcome, result.collapsed) == (Outcome.STALE, True)

    asyncio.run(asyncio.wait_for(live(), 30))
    counted = house.counted()
    assert (counted.misses, counted.stale) == (1, 2)
    house.store.close()


def test_offline_a_miss_is_refused_and_names_the_nearest_entry(tmp_path: Path) -> None:
    text = "Where do trains leave for Basel, and from which platform?"
    online, offline = House(tmp_path), House(tmp_path, CACHE_MODE="offline")

    async def live() -> None:
        await online.answered(online.asks(text=text))
        refusal = await offline.asks(text=text.replace("Basel", "Bern")).resolve()
        assert isinstance(refusal, Refuse)
        assert refusal.near
        assert "differs at /messages/0/content @ char 27" in refusal.error.message

    asyncio.run(live())
    for house in (online, offline):
        house.store.close()


def test_where_nothing_is_stored_a_miss_names_the_nearest_entry_too(tmp_path: Path) -> None:
    text = "Where do trains leave for Basel, and from which platform?"
    online, readonly = House(tmp_path), House(tmp_path, CACHE_MODE="readonly")

    async def live() -> None:
        await online.answered(online.asks(text=text))
        result = await readonly.answered(readonly.asks(text=text.replace("Basel", "Bern")))
        assert result.near
        assert result.storing == Skipped("CACHE_MODE=readonly forbids storing", Skip.FORBIDDEN)

    asyncio.run(live())
    for house in (online, readonly):
        house.store.close()


class BrokenStore(DiskStore):
    """A store that can be neither read nor written."""

    def get(self, key: str) -> Entry | None:
        raise StoreError("cannot read")

    def put_all(self, *_: Any) -> set[str]:
        raise StoreError("disk full")


def test_a_store_that_fails_is_a_miss_and_the_followers_still_share_the_answer(tmp_path: Path) -> None:
    house = House(tmp_path / "store")
    house.cache.store = BrokenStore(tmp_path / "broken", 2**24)

    async def live() -> None:
        leader, (follower,) = await followed(house)
        result = leader.settle(await leader.on_response(GOOD), house.now)
        assert result.storing == Skipped(Skip.STORE, Skip.STORE)
        assert isinstance(await follower, Share)

    asyncio.run(asyncio.wait_for(live(), 30))
    house.store.close()


def test_an_update_replaces_an_entry(house: House) -> None:
    async def live() -> None:
        await house.answered(house.asks())
        exchange = house.asks({"x-cache-mode": "refresh"})
        await exchange.resolve()
        assert isinstance(await exchange.on_response(GOOD), Updated)

    asyncio.run(live())


@pytest.mark.parametrize(("here", "there"), list(itertools.product(State, State)))
def test_only_the_steps_of_the_table_can_be_taken(house: House, here: State, there: State) -> None:
    exchange = house.asks()
    exchange.state = here
    if there in NEXT[here]:
        exchange._enter(there)
        assert exchange.state is there
    else:
        with pytest.raises(AssertionError, match=f"{here.name} to {there.name}"):
            exchange._enter(there)
