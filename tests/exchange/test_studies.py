"""A busy proxy answers first, and studies its misses later."""

from __future__ import annotations

import asyncio
import threading

import pytest

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import miss_log, near_miss
from computer_use_cache.diagnosis.near_miss import Study
from computer_use_cache.exchange import studies
from computer_use_cache.exchange.decisions import Forward
from computer_use_cache.models import NOTHING, Outcome
from exchange.house import GOOD, START, House

AT_ONCE, LATER = 4, 3
sleep = asyncio.sleep
"""For the tests themselves: one of them replaces asyncio's."""


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Studies begin once it is set."""
    gate, study = threading.Event(), near_miss.study

    def gated(cache: Cache, plan: Plan) -> Study:
        assert gate.wait(30)
        return study(cache, plan)

    monkeypatch.setattr(near_miss, "study", gated)
    return gate


async def similar_misses(house: House, gate: threading.Event) -> None:
    """One request, and a second later some that differ from it in a field, all at the same time."""
    gate.set()
    await house.answered(house.asks(user_note="0"))
    gate.clear()
    house.now += 1
    asked = [house.asks(user_note=str(note)) for note in range(1, AT_ONCE + LATER + 1)]
    for exchange in asked:
        assert isinstance(await exchange.resolve(), Forward)
    answers = [asyncio.create_task(exchange.on_response(GOOD)) for exchange in asked]
    while house.counted().studies_put_off < LATER:
        await sleep(0.01)
    gate.set()
    for exchange, ending in zip(asked, answers, strict=True):
        exchange.settle(await ending, house.now)


def test_studies_that_would_wait_are_put_off_and_made_up_for_with_the_time_of_the_miss(
    house: House, gate: threading.Event
) -> None:
    async def live() -> None:
        await similar_misses(house, gate)
        assert house.counted().stored == 1 + AT_ONCE + LATER
        house.now += 100
        while house.shared.studies.is_making_up:
            await sleep(0.01)

    asyncio.run(live())
    assert (house.counted().studies_put_off, house.counted().studies_made_up) == (LATER, LATER)
    misses = miss_log.near_misses(house.store, 0.0)
    assert [miss["at"] for miss in misses] == [START + 1] * (AT_ONCE + LATER)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made between studies, which are not waited for."""
    made = list[float]()

    async def noted(seconds: float) -> None:
        made.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    return made


def make_up_for_some(house: House) -> None:
    async def live() -> None:
        for note in range(LATER):
            house.shared.studies.put_off(house.asks(user_note=str(note)).plan, START)
        while house.shared.studies.is_making_up:
            await sleep(0.01)

    asyncio.run(live())
    assert house.counted().studies_made_up == LATER


def test_an_idle_proxy_makes_up_for_studies_without_pauses(house: House, pauses: list[float]) -> None:
    make_up_for_some(house)
    assert not any(pauses)


def test_a_proxy_with_a_call_under_way_makes_up_for_studies_with_pauses(house: House, pauses: list[float]) -> None:
    house.shared.flights.begin("another request")
    make_up_for_some(house)
    assert all(pauses)


def test_a_study_that_is_made_up_for_is_followed_by_a_pause_if_hits_were_served_meanwhile(
    house: House, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_a_hit_during_each_study(house, monkeypatch)
    make_up_for_some(house)
    assert len([pause for pause in pauses if pause]) == LATER - 1


def test_the_pause_after_a_study_that_took_long_ends_once_the_proxy_is_idle(
    house: House, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "_SHARE", 1e-6)  # so that pauses would be at least 1,000 seconds long
    serve_a_hit_during_each_study(house, monkeypatch)
    make_up_for_some(house)
    assert sum(pauses) <= studies._LONGEST_PAUSE_SECONDS * LATER


def serve_a_hit_during_each_study(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def study(cache: Cache, plan: Plan) -> Study:
        house.shared.ledger.served(Outcome.HIT, "m", NOTHING)
        return Study()

    monkeypatch.setattr(near_miss, "study", study)


def test_only_the_newest_that_were_put_off_are_kept_and_the_others_counted_as_dropped(
    house: House, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "_MOST_PUT_OFF", 1)

    async def live() -> None:
        await similar_misses(house, gate)
        while house.shared.studies.is_making_up:
            await sleep(0.01)

    asyncio.run(live())
    counted = house.counted()
    assert (counted.studies_put_off, counted.studies_made_up, counted.studies_dropped) == (LATER, 1, LATER - 1)


def test_many_calls_put_off_studies_and_fewer_do_if_the_event_loop_is_late(house: House) -> None:
    async def studied(late: float) -> bool:
        return await house.shared.studies.study(house.asks().plan, late) is not None

    async def live() -> None:
        assert await studied(late=1.0), "there is no other call that could wait for it"
        for number in range(10):
            house.shared.flights.begin(str(number))
        assert not await studied(late=1.0)
        assert await studied(late=0.0)
        for number in range(10, 20):
            house.shared.flights.begin(str(number))
        assert not await studied(late=0.0), "that many calls leave no time for it"

    asyncio.run(live())
