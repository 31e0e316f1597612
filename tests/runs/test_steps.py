"""What was asked and answered in each step, and what is new in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.formats.item import Item, Kind
from computer_use_cache.runs import steps
from computer_use_cache.runs.finding import UnknownRun, find
from computer_use_cache.runs.steps import Step
from exchange.house import House, failure
from runs.chats import answering, chats, recorded, said

RUN = {"x-cache-run": "nightly"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "store")


def loaded(house: House) -> list[Step]:
    [(_, calls)] = recorded(house)
    return list(steps.load(house.store, calls))


def texts(items: Any) -> list[str]:
    return [item.text for item in items]


def test_a_step_has_what_was_asked_and_answered_and_what_is_new(house: House) -> None:
    chats(house, said("Buy milk"), RUN, answering("Which?"))
    chats(house, said("Buy milk", "Which?", "Whole"), RUN, answering("Done"))
    first, second = loaded(house)
    assert texts(first.asked) == texts(first.delta.added) == ["You drive a browser.", "Buy milk"]
    assert texts(first.answer) == ["Which?"]
    assert (first.number, first.before, second.number, second.before) == (1, 0, 2, 1)
    assert texts(second.delta.added) == ["Whole"], "the answer of the step before is not added"
    assert (second.delta.changed, second.delta.cut) == ((), ())
    assert second.answer == (Item("assistant", Kind.TEXT, "Done"),)


def test_changed_items_and_removed_items_are_distinguished(house: House) -> None:
    chats(house, said("a", "b", "c", "d", "e"), RUN)
    chats(house, said("a", "B", "c", "e", "f"), RUN)
    delta = loaded(house)[1].delta
    assert [(old.text, new.text) for old, new in delta.changed] == [("b", "B"), ("d", "e"), ("e", "f")]
    chats(house, said("a", "B"), RUN)
    assert texts(loaded(house)[2].delta.cut) == ["c", "e", "f"]


def test_a_step_is_compared_with_the_one_that_it_continues(house: House) -> None:
    chats(house, said("Buy milk"), RUN)
    chats(house, [{"role": "system", "content": "You summarise."}, {"role": "user", "content": "x"}], RUN)
    chats(house, said("Buy milk", "Which?", "Whole"), RUN)
    assert [step.before for step in loaded(house)] == [0, 0, 1]


def test_a_call_that_is_not_stored_is_a_step_without_texts(house: House) -> None:
    chats(house, said("Buy milk"), RUN)
    chats(house, said("Buy milk", "Which?", "Whole"), RUN, failure(500))
    chats(house, said("Buy milk", "Which?", "Whole"), RUN)
    _, failed, third = loaded(house)
    assert (failed.record, failed.entry, failed.asked, failed.answer) == (None, None, (), ())
    assert third.before == 1


def test_runs_are_found_by_last_by_id_and_by_a_unique_beginning(house: House) -> None:
    log = house.store.run_log
    with pytest.raises(UnknownRun, match="no run is recorded"):
        find(log, "last")
    for name in ("one", "two"):
        chats(house, said("Buy milk"), {"x-cache-run": name})
        house.now += 10
    (one, _), (two, _) = recorded(house)
    assert find(log, "last") == find(log, two.id) == find(log, two.id[:9]) == two
    assert find(log, "last~1") == one
    for name, why in (("last~2", "only 2 runs"), (one.id[:2], "ambig"), ("nosuch", "no run 'nosuch'"), ("", "no run")):
        with pytest.raises(UnknownRun, match=why):
            find(log, name)
