"""A busy proxy's answers are stored by a process of its own, as the proxy itself would store them, and none is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.exchange import storing_process, studies
from computer_use_cache.exchange.decisions import Stored, Updated
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.exchange.storing import Arrived, keep
from computer_use_cache.exchange.storing_process import StoringProcess
from computer_use_cache.models import Outcome, Response, Skip, Skipped
from exchange.house import EVENTS, GOOD, START, House, failure, planned

STREAM = Response(200, {"content-type": "text/event-stream"}, b"".join(EVENTS), 1.0, ((9, 20),), ended=True)
SILENT = replace(GOOD, body=GOOD.body.replace(b'"pong"', b'""'))
ANSWERS = {"JSON": GOOD, "a stream": STREAM, "an error": failure(429), "silence": SILENT}


@asynccontextmanager
async def ready(house: House, **options: str) -> AsyncIterator[StoringProcess]:
    """The storing process of this house, which has stored an answer."""
    process = StoringProcess({"cache_dir": str(house.store.folder), **options}, loopback=True)
    plan = planned(house, user_note="first")
    until = time.monotonic() + 30
    while await process.keep(Arrived(plan, GOOD, START)) is None:
        assert time.monotonic() < until
        assert process._running
        await asyncio.wait([process._running], timeout=0.02)
    try:
        yield process
    finally:
        process.close()
        assert process._running
        await process._running


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_it_stores_an_answer_as_the_proxy_itself_does(house: House, tmp_path: Path, answer: Response) -> None:
    other = House(tmp_path / "other")

    async def live() -> None:
        plan = planned(house, user_note="alike")
        async with ready(house) as process:
            for _ in range(2):
                arrived = Arrived(plan, answer, START, is_summarized=True)
                assert [await process.keep(arrived)] == keep(other.cache, [arrived])
        assert house.store.get(plan.key) == other.store.get(plan.key)
        assert house.store.request(plan.key) == other.store.request(plan.key)

    asyncio.run(live())
    other.store.close()


def test_it_tells_what_became_of_an_answer_and_what_the_model_did(house: House) -> None:
    async def live() -> None:
        async with ready(house) as process:
            plan = planned(house, user_note="twice")
            first = await process.keep(Arrived(plan, GOOD, START, is_summarized=True))
            second = await process.keep(Arrived(plan, GOOD, START))
            third = await process.keep(Arrived(plan, failure(500), START, is_summarized=True))
        assert first
        assert second
        assert third
        assert (type(first.kept), first.did, first.cost.seconds) == (Stored, '"pong"', GOOD.seconds)
        assert (type(second.kept), second.did) == (Updated, None)
        assert isinstance(third.kept, Skipped)
        assert (third.kept.reason, third.landing) == (Skip.STATUS, failure(500))

    asyncio.run(live())


def test_it_stores_no_credential_of_an_answer(house: House) -> None:
    secret = "ghp_" + "a1B2" * 9
    answer = replace(GOOD, body=GOOD.body.replace(b"pong", f"it is {secret}".encode()))

    async def live() -> None:
        plan = planned(house, user_note="which one?")
        async with ready(house) as process:
            assert await process.keep(Arrived(plan, answer, START, is_summarized=True))
        entry = house.store.get(plan.key)
        assert entry is None or secret.encode() not in entry.body

    asyncio.run(live())


SECRET = "ghp_" + "Zx9Q" * 9
LEFT = {
    "a secret in the request": ({}, {"text": f"the token is {SECRET}"}, {}),
    "a long request": ({}, {"text": "long " * 60_000}, {}),
    "a header that is not UTF-8": ({"user-agent": "\udcff"}, {}, {}),
    "a request with another key there": ({}, {}, {"cache_ignore_keys": "model"}),
    "a request that bypasses the cache there": ({}, {}, {"cache_model_denylist": "*"}),
}


@pytest.mark.parametrize(("headers", "fields", "options"), LEFT.values(), ids=LEFT)
def test_it_leaves_to_the_proxy(
    house: House, headers: dict[str, str], fields: dict[str, Any], options: dict[str, str]
) -> None:
    async def live() -> None:
        plan = planned(house, headers, **fields)
        process = StoringProcess({"cache_dir": str(house.store.folder), **options}, loopback=True)
        assert await process.keep(Arrived(plan, GOOD, START)) is None
        assert await process.keep(Arrived(planned(house, user_note="first"), GOOD, START)) is None  # which starts it
        assert process._running
        while not process._is_ready and not process._running.done():
            await asyncio.wait([process._running], timeout=0.02)
        assert process._is_ready
        assert await process.keep(Arrived(plan, GOOD, START)) is None
        process.close()
        await process._running
        assert house.store.get(plan.key) is None

    asyncio.run(live())


def test_an_answer_that_cannot_be_told_is_left_to_the_proxy_as_well(house: House) -> None:
    answer = replace(GOOD, body=GOOD.body.replace(b"pong", b"\\ud83d"))

    async def live() -> None:
        async with ready(house) as process:
            arrived = Arrived(planned(house, user_note="half a smile"), answer, START, is_summarized=True)
            assert await process.keep(arrived) is None
            assert await process.keep(Arrived(planned(house, user_note="next"), GOOD, START))

    asyncio.run(live())


def test_what_is_written_next_waits_until_it_has_caught_up(house: House) -> None:
    async def live() -> None:
        async with ready(house) as process:
            assert process._process
            process._process.send_signal(signal.SIGSTOP)
            keeping = asyncio.create_task(process.keep(Arrived(planned(house, user_note="slow"), GOOD, START)))
            await asyncio.sleep(0)
            waiting = asyncio.create_task(process.caught_up())
            await asyncio.sleep(0)
            assert not waiting.done()
            process._process.send_signal(signal.SIGCONT)
            await waiting
            assert await keeping

    asyncio.run(live())


def test_it_ends_at_once_on_a_loop_that_is_about_to_end(house: House) -> None:
    """uvloop ends connections only once its event loop goes on."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed (scripts/setup dev)")

    async def live() -> None:
        async with ready(house) as process:
            process.close()
            assert process._process
            assert process._process.returncode == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())


def test_it_logs_through_the_proxy(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def live() -> None:
        process = StoringProcess({"cache_dir": str(house.store.folder), "cache_mode": "no mode"}, loopback=True)
        assert await process.keep(Arrived(planned(house), GOOD, START)) is None
        assert process._running
        await process._running

    asyncio.run(live())
    assert "CACHE_MODE" in caplog.text
    assert "the proxy now stores them itself" in caplog.text


def test_it_leaves_ordered_samples_to_the_proxy(house: House) -> None:
    async def live() -> None:
        async with ready(house) as process:
            plan = house.cache.plan_sample(planned(house), 2, None)
            assert await process.keep(Arrived(plan, GOOD, START)) is None

    asyncio.run(live())


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP], ids=["is killed", "hangs"])
def test_what_it_has_not_stored_when_it(
    house: House, fate: signal.Signals, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """... is left to the proxy, as is all that comes after."""

    async def live() -> None:
        plans = [planned(house, user_note=f"number {number}") for number in range(20)]
        async with ready(house) as process:
            assert process._process
            os.kill(process._process.pid, fate)
            if fate is signal.SIGSTOP:
                monkeypatch.setattr(storing_process, "_MOST_SECONDS", 0.2)
            kept = await asyncio.gather(*(process.keep(Arrived(plan, GOOD, START)) for plan in plans))
            assert None in kept
            assert await process.keep(Arrived(plans[0], GOOD, START)) is None
            assert process._process.wait(30) == -signal.SIGKILL

    asyncio.run(live())
    assert "the proxy now stores them itself" in caplog.text


def test_it_stores_what_it_was_given_before_it_is_closed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def live() -> None:
        plans = [planned(house, user_note=f"number {number}") for number in range(20)]
        async with ready(house) as process:
            asked = [asyncio.create_task(process.keep(Arrived(plan, GOOD, START))) for plan in plans]
            await asyncio.sleep(0)
            process.close()
            assert None not in await asyncio.gather(*asked)
            assert process._process
            assert process._process.wait(30) == 0
        assert all(house.store.get(plan.key) for plan in plans)

    asyncio.run(live())
    assert not caplog.text


def test_a_service_manager_that_ends_it_and_the_proxy_does_not_end_it_first(house: House) -> None:
    async def live() -> None:
        async with ready(house) as process:
            assert process._process
            process._process.terminate()
            assert await process.keep(Arrived(planned(house, user_note="last"), GOOD, START))

    asyncio.run(live())


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_busy_proxy_stores_every_answer(house: House, is_killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "_MANY_CALLS", 0)
    here = list[str]()

    async def write(function: Any, /, *arguments: Any, **named: Any) -> Any:
        here.append(function.__name__)
        return await house.write(function, *arguments, **named)

    async def live() -> None:
        async with ready(house) as process:
            run = replaced(house.shared.run, write=write)
            shared = Shared(house.cache, Ledger(house.store), run, storing_process=process)
            house.shared.studies.close()
            house.shared = shared
            asked = [house.asks(user_note=f"number {number}") for number in range(20)]
            if is_killed:
                assert process._process
                process._process.kill()
            results = await asyncio.gather(*(house.answered(exchange) for exchange in asked))
            assert {str(result.storing) for result in results} == {"stored"}
            assert all(house.cache.has_kept(result.key) for result in results)
            repeated = await house.lived(house.asks(user_note="number 7"))
            assert repeated.outcome is Outcome.HIT

    asyncio.run(live())
    assert ("_store" in here) is is_killed
    assert house.counted().stored == 20


def test_a_proxy_that_is_not_busy_starts_no_process(house: House) -> None:
    async def live() -> None:
        process = StoringProcess({}, loopback=True)
        run: Runners = house.shared.run
        house.shared.studies.close()
        house.shared = Shared(house.cache, Ledger(house.store), run, storing_process=process)
        await house.answered(house.asks())
        assert process._process is None

    asyncio.run(live())
