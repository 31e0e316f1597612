"""One flight for many: followers see all that the leader saw, and learn how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from computer_use_cache.flights.flight import Flight, Flights, Landing, Released, Stream, StreamCut
from computer_use_cache.models import Entry, Response, Shape

STREAM = Stream(Shape.SSE, True, (("content-type", "text/event-stream"),))
ENTRY = Entry("k", "f", Shape.SSE, "m", "", (), b"abc", 0.0, None, 1.0)
RESPONSE = Response(500, {}, b"", 1.0)
LANDINGS: list[Landing] = [ENTRY, RESPONSE, Released.ALONE, Released.TOGETHER]


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def collected(flight: Flight, into: list[bytes]) -> None:
    async for chunk in flight.tail():
        into.append(chunk)


def streaming() -> Flight:
    flight = Flight("k")
    flight.begin_stream(STREAM)
    return flight


def test_followers_get_the_chunks_so_far_joined_and_then_each_as_it_comes() -> None:
    async def scenario() -> None:
        flight = streaming()
        early: list[bytes] = []
        late: list[bytes] = []
        following = [asyncio.create_task(collected(flight, early))]
        await settle()
        for chunk in (b"a", b"b"):
            flight.feed(chunk)
            await settle()
        assert early == [b"a", b"b"]
        following.append(asyncio.create_task(collected(flight, late)))
        await settle()
        assert late == [b"ab"]
        flight.feed(b"c")
        await settle()
        assert (early, late) == ([b"a", b"b", b"c"], [b"ab", b"c"])
        assert not any(task.done() for task in following)
        flight.land(ENTRY)
        await asyncio.gather(*following)
        assert (early, late) == ([b"a", b"b", b"c"], [b"ab", b"c"])

    asyncio.run(scenario())


def test_a_stream_that_ended_but_was_not_kept_is_whole_for_its_followers() -> None:
    async def scenario() -> None:
        flight = streaming()
        received: list[bytes] = []
        following = asyncio.create_task(collected(flight, received))
        flight.feed(b"a")
        flight.end_stream()
        flight.land(Released.ALONE)
        await following
        assert received == [b"a"]

    asyncio.run(scenario())


def test_who_follows_after_the_end_still_gets_everything() -> None:
    async def scenario() -> None:
        flight = streaming()
        flight.feed(b"a")
        flight.feed(b"b")
        flight.land(ENTRY)
        got: list[bytes] = []
        await collected(flight, got)
        assert got == [b"ab"]

    asyncio.run(scenario())


def test_a_slow_follower_misses_nothing() -> None:
    async def scenario() -> None:
        flight = streaming()
        flight.feed(b"a")
        tail = flight.tail()
        assert await anext(tail) == b"a"
        for chunk in (b"b", b"c"):
            flight.feed(chunk)
        flight.land(ENTRY)
        assert [chunk async for chunk in tail] == [b"bc"]

    asyncio.run(scenario())


def test_a_follower_that_is_behind_gets_pieces_of_a_limited_size() -> None:
    async def scenario() -> None:
        flight = streaming()
        for _ in range(100):
            flight.feed(bytes(10_000))
        flight.feed(bytes(1_000_000))
        flight.land(ENTRY)
        received: list[bytes] = []
        await collected(flight, received)
        assert sum(map(len, received)) == 2_000_000
        assert all(len(piece) < 80_000 for piece in received[:-1])

    asyncio.run(scenario())


def test_a_closed_flight_without_followers_keeps_nothing() -> None:
    flight = streaming()
    flight.feed(b"a")
    flight.close()
    assert flight._chunks == []
    flight.feed(b"b")
    assert flight._chunks == []


def test_a_closed_flight_keeps_what_a_follower_has_yet_to_read_and_no_more() -> None:
    async def scenario() -> None:
        flight = streaming()
        flight.feed(b"a")
        fast, slow, gone = flight.tail(), flight.tail(), flight.tail()
        assert await anext(fast) == await anext(slow) == b"a"
        flight.close()
        del gone
        flight.feed(b"b")
        assert await anext(fast) == b"b"
        flight.feed(b"c")
        assert flight._chunks == [b"b", b"c"]
        assert [await anext(fast), await anext(slow)] == [b"c", b"bc"]
        flight.feed(b"d")
        assert flight._chunks == [b"d"]
        flight.end_stream()
        flight.land(Released.ALONE)
        assert [[piece async for piece in tail] for tail in (fast, slow)] == [[b"d"], [b"d"]]

    asyncio.run(scenario())


@pytest.mark.parametrize("outcome", [Released.ALONE, Released.TOGETHER])
def test_a_cut_stream_is_a_cut_for_its_followers_after_all_its_chunks(outcome: Released) -> None:
    async def scenario() -> None:
        flight = streaming()
        early: list[bytes] = []
        following = asyncio.create_task(collected(flight, early))
        flight.feed(b"a")
        await settle()
        flight.feed(b"b")
        flight.land(outcome)
        with pytest.raises(StreamCut):
            await following
        assert early == [b"a", b"b"]
        late: list[bytes] = []
        with pytest.raises(StreamCut):
            await collected(flight, late)
        assert late == [b"ab"]

    asyncio.run(scenario())


@pytest.mark.parametrize("outcome", LANDINGS)
@pytest.mark.parametrize("wait", [Flight.begun, Flight.landed])
def test_every_waiter_learns_the_outcome(wait: Callable[[Flight], Awaitable[object]], outcome: Landing) -> None:
    async def scenario() -> None:
        flight = Flight("k")
        waiters = [asyncio.ensure_future(wait(flight)) for _ in range(3)]
        await settle()
        assert not any(waiter.done() for waiter in waiters)
        flight.land(outcome)
        assert await asyncio.gather(*waiters, wait(flight)) == [outcome] * 4

    asyncio.run(scenario())


def test_a_streams_headers_are_sent_before_its_outcome_is_known() -> None:
    async def scenario() -> None:
        flight = Flight("k")
        begun, landed = asyncio.create_task(flight.begun()), asyncio.create_task(flight.landed())
        await settle()
        flight.begin_stream(STREAM)
        flight.feed(b"a")
        assert await begun is STREAM
        await settle()
        assert not landed.done()
        flight.land(ENTRY)
        assert await landed is ENTRY
        assert await flight.begun() is STREAM

    asyncio.run(scenario())


def test_the_first_outcome_counts() -> None:
    async def scenario() -> None:
        flight = Flight("k")
        flight.land(ENTRY)
        flight.land(Released.ALONE)
        assert await flight.landed() is ENTRY

    asyncio.run(scenario())


def test_a_flight_is_wanted_while_any_follower_is_there() -> None:
    flight = Flight("k")
    there = {"ann", "bob"}
    assert not flight.is_wanted
    flight.follow(lambda: "ann" in there)
    flight.follow(lambda: "bob" in there)
    assert flight.is_wanted
    there.remove("ann")
    assert flight.is_wanted
    there.remove("bob")
    assert not flight.is_wanted


def test_a_leader_without_followers_is_not_kept() -> None:
    asyncio.run(Flight("k").landed_or_unwanted(3600.0))


def test_a_leader_is_kept_until_the_flight_is_over() -> None:
    async def scenario() -> None:
        flight = streaming()
        flight.follow(lambda: True)
        waiting = asyncio.create_task(flight.landed_or_unwanted(3600.0))
        for _ in range(3):
            flight.feed(b"a")
            await settle()
            assert not waiting.done()
        flight.land(ENTRY)
        await waiting

    asyncio.run(scenario())


def test_a_leader_is_kept_until_a_chunk_finds_no_follower() -> None:
    async def scenario() -> None:
        flight = streaming()
        there = [True]
        flight.follow(lambda: bool(there))
        waiting = asyncio.create_task(flight.landed_or_unwanted(3600.0))
        await settle()
        assert not waiting.done()
        there.clear()
        flight.feed(b"a")
        await waiting

    asyncio.run(scenario())


def test_a_leader_is_not_kept_for_a_silent_upstream() -> None:
    async def scenario() -> None:
        flight = streaming()
        flight.follow(lambda: True)
        await flight.landed_or_unwanted(0.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flight.landed(), 0.0)

    asyncio.run(scenario())


@pytest.mark.parametrize("outcome", LANDINGS)
def test_a_landed_key_begins_a_new_flight(outcome: Landing) -> None:
    flights = Flights()
    assert flights.find("k") is None
    flight = flights.begin("k")
    other = flights.begin("other")
    assert flights.find("k") is flight
    flights.land(flight, outcome)
    assert flights.find("k") is None
    assert flights.find("other") is other
    assert flights.begin("k") is not flight


def test_landing_an_old_flight_leaves_the_new_one_of_its_key() -> None:
    async def scenario() -> None:
        flights = Flights()
        old, new = flights.begin("k"), flights.begin("k")
        flights.land(old, ENTRY)
        assert await old.landed() is ENTRY
        assert flights.find("k") is new

    asyncio.run(scenario())
