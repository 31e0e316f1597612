"""Answers that arrive while the thread that writes is busy are stored together, and one that fails fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from computer_use_cache.errors import StoreError
from computer_use_cache.exchange import storing_thread
from computer_use_cache.exchange.decisions import Stored
from computer_use_cache.exchange.storing import Arrived, Recorded
from computer_use_cache.exchange.storing_thread import StoringThread
from computer_use_cache.models import Entry
from computer_use_cache.store.base import NewEntry
from exchange.house import GOOD, START, House, planned

NUMBER = 5


class Watched:
    """How many answers were stored at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes = list[int]()
        self._keep = storing_thread.keep
        self.failing = ""
        """The key of an answer that cannot be stored."""
        monkeypatch.setattr(storing_thread, "keep", self._watch)

    def _watch(self, cache: Any, answers: Sequence[Arrived]) -> list[Recorded]:
        self.sizes.append(len(answers))
        if self.failing in [answer.plan.key for answer in answers]:
            raise RuntimeError("broken on purpose")
        return self._keep(cache, answers)


async def arrive_while_it_is_busy(house: House, answers: list[Arrived]) -> list[Recorded | BaseException]:
    """What became of answers that arrive at the same time."""
    thread = StoringThread(house.cache, house.shared.run)
    gate = threading.Event()
    busy = asyncio.create_task(house.write(gate.wait, 30))
    waiting = [asyncio.create_task(thread.keep(answer)) for answer in answers]
    await asyncio.sleep(0)
    gate.set()
    await busy
    return await asyncio.gather(*waiting, return_exceptions=True)


def arrived(house: House) -> list[Arrived]:
    return [Arrived(planned(house, user_note=f"number {number}"), GOOD, START) for number in range(NUMBER)]


@pytest.mark.parametrize(("most", "sizes"), [(100, [5]), (2, [2, 2, 1]), (1, [1] * 5)])
def test_what_waits_is_stored_together(
    house: House, monkeypatch: pytest.MonkeyPatch, most: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(storing_thread, "_MOST", most)
    watched, answers = Watched(monkeypatch), arrived(house)
    recorded = asyncio.run(arrive_while_it_is_busy(house, answers))
    assert watched.sizes == sizes
    for answer, one in zip(answers, recorded, strict=True):
        assert isinstance(one, Recorded)
        assert isinstance(one.kept, Stored)
        assert isinstance(one.landing, Entry)
        assert one.landing.key == answer.plan.key
        assert house.store.get(answer.plan.key) == one.landing


def test_an_answer_that_arrives_alone_is_stored_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, thread = Watched(monkeypatch), StoringThread(house.cache, house.shared.run)

    async def live() -> None:
        for answer in arrived(house):
            await thread.keep(answer)
            assert house.store.get(answer.plan.key)

    asyncio.run(live())
    assert watched.sizes == [1] * NUMBER


def test_an_answer_that_fails_does_not_fail_those_together_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, answers = Watched(monkeypatch), arrived(house)
    watched.failing = answers[2].plan.key
    recorded = asyncio.run(arrive_while_it_is_busy(house, answers))
    assert watched.sizes == [5, 1, 1, 1, 1, 1]
    assert [type(one) for one in recorded] == [Recorded, Recorded, RuntimeError, Recorded, Recorded]
    assert [bool(house.store.get(answer.plan.key)) for answer in answers] == [True, True, False, True, True]


def test_an_answer_that_cannot_be_written_does_not_keep_those_together_with_it_from_being_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, put_all = arrived(house), house.store.put_all

    def fails_for_one(batch: Sequence[NewEntry]) -> object:
        if answers[2].plan.key in [new.entry.key for new in batch]:
            raise StoreError("broken on purpose")
        return put_all(batch)

    monkeypatch.setattr(house.store, "put_all", fails_for_one)
    recorded = asyncio.run(arrive_while_it_is_busy(house, answers))
    errors = [isinstance(one, Recorded) and str(one.error) for one in recorded]
    assert errors == ["None", "None", "broken on purpose", "None", "None"]
    assert [bool(house.store.get(answer.plan.key)) for answer in answers] == [True, True, False, True, True]
