"""Bounded memory: what it forgets, and when."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from computer_use_cache import memory as memories
from computer_use_cache.memory import BoundedMemory, Seen


def test_what_was_used_least_recently_goes_first() -> None:
    memory = BoundedMemory[int, str](3)
    for number in range(3):
        memory.put(number, str(number))
    assert memory.get(0) == "0"
    memory.put(3, "3")
    assert [memory.get(number) for number in range(4)] == ["0", None, "2", "3"]


def test_weights_never_add_up_to_more_than_the_limit() -> None:
    memory = BoundedMemory[int, bytes](1000, len)
    for number in range(10):
        memory.put(number, bytes(300))
    assert [number for number in range(10) if memory.get(number)] == [7, 8, 9]
    memory.put(7, bytes(100))
    memory.put(10, bytes(250))
    assert [number for number in range(11) if memory.get(number)] == [7, 8, 9, 10]
    memory.put(11, bytes(1001))
    assert memory.get(11) is None


def test_a_value_is_forgotten_when_its_time_is_over() -> None:
    memory = BoundedMemory[str, int](2)
    memory.put("brief", 1, until=10.0)
    memory.put("lasting", 2)
    assert (memory.get("brief", now=9.9), memory.get("lasting", now=9.9)) == (1, 2)
    assert (memory.get("brief", now=10.0), memory.get("lasting", now=1e12)) == (None, 2)
    assert memory.get("brief") is None, "it is gone, whatever the clock says next"


def test_what_is_dropped_or_cleared_weighs_nothing() -> None:
    memory = BoundedMemory[int, bytes](10, len)
    memory.put(1, bytes(10))
    memory.drop(1)
    memory.drop(1)
    memory.put(2, bytes(10))
    assert (memory.get(1), memory.get(2)) == (None, bytes(10))
    memory.clear()
    assert memory.get(2) is None
    memory.put(3, bytes(10))
    assert memory.get(3) == bytes(10)


def test_a_key_is_remembered_until_another_takes_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "_SLOTS", 4)
    seen = Seen[int]()
    assert [number for number in range(10) if number in seen] == []
    for number in (0, 1, 2, 5):
        seen.add(number)
    assert [number for number in range(10) if number in seen] == [0, 2, 5]


def test_a_text_is_remembered_too() -> None:
    seen = Seen[str]()
    seen.add("one")
    assert ("one" in seen, "two" in seen) == (True, False)


def test_many_threads_use_one_memory() -> None:
    memory = BoundedMemory[int, bytes](500, len)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(2000):
            key = chance.randrange(40)
            assert (memory.get(key) or b"x" * key) == b"x" * key
            memory.put(key, b"x" * key)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert sum(len(memory.get(key) or b"") for key in range(40)) <= 500
