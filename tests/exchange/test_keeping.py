"""A client waits until its stream is stored, unless others wait for that already. Nothing is lost either way."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from computer_use_cache.exchange import keeping, storing_thread, studies
from computer_use_cache.exchange.decisions import Forward
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.keeping import Keeping
from computer_use_cache.exchange.result import Result
from computer_use_cache.models import Outcome, Response
from exchange.house import EVENTS, STREAM, House

ANSWER = Response(200, {"content-type": "text/event-stream"}, b"".join(EVENTS), 1.0)
AWAITED = 2
"""Answers that clients wait for."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_FEW", AWAITED)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is stored until it is set."""
    gate, keep = threading.Event(), storing_thread.keep

    def gated(*arguments: Any, **named: Any) -> Any:
        assert gate.wait(30)
        return keep(*arguments, **named)

    monkeypatch.setattr(storing_thread, "keep", gated)
    return gate


async def streamed(house: House, note: str) -> Exchange:
    """An exchange whose stream has passed."""
    return await passed(house.asks(user_note=note, stream=True))


async def passed(exchange: Exchange) -> Exchange:
    """The exchange, after its stream has passed."""
    assert isinstance(await exchange.resolve(), Forward)
    await exchange.begin_stream(200, 0.0, STREAM)
    for event in (*EVENTS, b""):
        exchange.feed(event, 1.0)
    return exchange


async def awaited_elsewhere(house: House, kept: Keeping, results: list[Result]) -> list[asyncio.Task[None]]:
    """Clients that wait until their answers are stored."""
    asked = [await streamed(house, f"awaited {number}") for number in range(AWAITED)]
    waits = [asyncio.create_task(kept.keep(exchange, ANSWER, results.append)) for exchange in asked]
    await asyncio.sleep(0)
    return waits


@pytest.mark.parametrize("headers", [{}, {"cache-control": "only-if-cached"}, {"x-cache-mode": "offline"}])
def test_a_client_does_not_wait_if_others_do_and_its_next_request_finds_the_answer(
    house: House, gate: threading.Event, headers: dict[str, str]
) -> None:
    async def live() -> None:
        kept, results = Keeping(lambda: house.now, house.shared.unstored), list[Result]()
        waits = await awaited_elsewhere(house, kept, results)
        await kept.keep(await streamed(house, "left alone"), ANSWER, results.append)
        assert not results
        repeated = asyncio.create_task(house.lived(house.asks(headers, user_note="left alone", stream=True)))
        gate.set()
        await asyncio.gather(*waits, kept.ended())
        assert [str(result.storing) for result in results] == ["stored"] * (AWAITED + 1)
        assert (await repeated).outcome is Outcome.HIT

    asyncio.run(live())
    counted = house.counted()
    assert (counted.misses, counted.hits, counted.stored) == (AWAITED + 1, 1, AWAITED + 1)


def test_a_client_waits_for_an_earlier_answer_if_many_wait_to_be_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, keep = threading.Semaphore(0), storing_thread.keep

    def one_at_a_time(*arguments: Any, **named: Any) -> Any:
        assert stores.acquire(timeout=30)
        return keep(*arguments, **named)

    monkeypatch.setattr(storing_thread, "keep", one_at_a_time)
    monkeypatch.setattr(storing_thread, "_MOST", 1)
    monkeypatch.setattr(keeping, "_MANY", 2)
    monkeypatch.setattr(studies, "_MANY_CALLS", 0)  # no answer waits for its study, so they are stored in order

    async def live() -> None:
        kept, results = Keeping(lambda: house.now, house.shared.unstored), list[Result]()
        waits = await awaited_elsewhere(house, kept, results)
        for number in range(2):
            await kept.keep(await streamed(house, f"left alone {number}"), ANSWER, results.append)
        third = asyncio.create_task(kept.keep(await streamed(house, "third"), ANSWER, results.append))
        stores.release(AWAITED)
        await asyncio.gather(*waits)
        assert not third.done()
        stores.release()
        await third
        assert len(results) == AWAITED + 1  # it waited for the first one that was left alone, not for its own
        stores.release(2)
        await kept.ended()
        assert len(results) == AWAITED + 3

    asyncio.run(live())


def test_an_answer_that_cannot_be_kept_while_no_client_waits_is_logged_and_counted(
    house: House, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def live() -> None:
        kept, results = Keeping(lambda: house.now, house.shared.unstored), list[Result]()
        waits = await awaited_elsewhere(house, kept, results)
        exchange = await streamed(house, "left alone")
        monkeypatch.setattr(exchange, "on_response", None)
        with caplog.at_level(logging.ERROR):
            await kept.keep(exchange, ANSWER, results.append)
            gate.set()
            await asyncio.gather(*waits, kept.ended())
        assert len(results) == AWAITED

    asyncio.run(live())
    assert "the answer was not recorded" in caplog.text
    assert house.counted().misses == AWAITED + 1


def test_the_next_run_waits_for_an_answer_that_rebinding_can_give_it(house: House, gate: threading.Event) -> None:
    def asks(folder: str) -> Exchange:
        return house.asks({"x-cache-rebind": "on"}, text=f"list {folder}", stream=True)

    async def live() -> None:
        kept = Keeping(lambda: house.now, house.shared.unstored)
        waits = await awaited_elsewhere(house, kept, [])
        await kept.keep(await passed(asks("/tmp/tmp.k3J9xQ2aLm")), ANSWER, lambda _: None)
        next_run = asyncio.create_task(house.lived(asks("/tmp/tmp.Zw81hTpB0c")))
        assert isinstance(await asks("/tmp/tmp.Zw81hTpB0c and /etc").resolve(), Forward)
        assert not next_run.done()
        gate.set()
        await asyncio.gather(*waits, kept.ended())
        assert (await next_run).outcome is Outcome.HIT

    asyncio.run(live())


def test_a_client_waits_if_the_answers_left_alone_hold_too_much(
    house: House, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_MOST_BYTES", 2 * len(ANSWER.body))

    async def live() -> None:
        kept, results = Keeping(lambda: house.now, house.shared.unstored), list[Result]()
        waits = await awaited_elsewhere(house, kept, results)
        await kept.keep(await streamed(house, "left alone"), ANSWER, results.append)
        full = asyncio.create_task(kept.keep(await streamed(house, "another"), ANSWER, results.append))
        await asyncio.sleep(0)
        assert not full.done()
        gate.set()
        await asyncio.gather(*waits, full, kept.ended())
        await kept.keep(await streamed(house, "afterwards"), ANSWER, results.append)
        assert len(results) == AWAITED + 3

    asyncio.run(live())
