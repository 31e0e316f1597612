"""Entries are found by their template, in every store, and only while they are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from computer_use_cache.models import Entry
from computer_use_cache.store.base import NEWEST_OF_TEMPLATE, Choice, NewEntry, Slow, Store
from computer_use_cache.store.disk import DiskStore
from made import Opener, entry, large, put, record


def made(number: int, template: str = "t") -> Entry:
    return entry(number, template=template, bindings=b"\x81\xa1k\x01")


def keys(*numbers: int) -> list[str]:
    return [entry(number).key for number in numbers]


def test_the_newest_of_a_template_are_found_newest_first(store: Store) -> None:
    for number in range(NEWEST_OF_TEMPLATE + 4):
        put(store, made(number), None)
    put(store, made(100, "other"), None)
    put(store, entry(101), None)
    put(store, made(7), None)
    newest = [7, *(number for number in reversed(range(NEWEST_OF_TEMPLATE + 4)) if number != 7)]
    assert store.with_template("t") == keys(*newest[:NEWEST_OF_TEMPLATE])
    assert store.with_template("other") == keys(100)
    assert store.with_template("") == store.with_template("none") == []


def test_an_entry_comes_back_with_its_template_and_bindings(store: Store) -> None:
    put(store, made(1), None)
    assert store.get(made(1).key) == made(1)
    assert list(store.entries()) == [made(1)]


GOING: dict[str, Callable[[Store], object]] = {
    "deleted": lambda store: store.delete(entry(1).key),
    "cleared": lambda store: store.clear(),
    "cleared by choice": lambda store: store.clear(Choice(before=entry(2).created_at)),
    "replaced by one of another template": lambda store: put(store, made(1, "other"), None),
    "replaced by one without": lambda store: put(store, entry(1), None),
}


@pytest.mark.parametrize("how", GOING)
def test_a_template_goes_with_its_entry(store: Store, how: str) -> None:
    put(store, made(1), None, record(1))
    put(store, made(2), None)
    GOING[how](store)
    assert store.with_template("t") == ([] if how == "cleared" else keys(2))


def test_a_template_expires_and_is_evicted_with_its_entry(open_store: Opener) -> None:
    store = open_store()
    put(store, made(1), 0.0)
    while store.get(entry(1).key):  # a server's clock has milliseconds
        pass
    assert store.with_template("t") == []
    for number in range(2, 300):
        put(store, replace(large(number, 30_000), template="t"), None)
    store.close()
    small = open_store(2**20)
    small.maintain()
    left = [found.key for found in small.entries()]
    assert 0 < len(left) < 100
    assert set(small.with_template("t")) <= set(left)


def test_a_batch_is_stored_as_single_entries_are(store: Store) -> None:
    put(store, entry(1, body=b"old"), None, record(1, 5))
    batch = [NewEntry(made(number), None, record(number, 10 + number)) for number in range(30)]
    batch.append(NewEntry(entry(30), None))
    batch.append(NewEntry(entry(31), 0.0))
    store.put_all(batch)
    while store.get(entry(31).key):
        pass
    assert store.size().entries >= 31
    for number in range(31):
        assert store.get(entry(number).key) == (made(number) if number < 30 else entry(30))
    assert store.request(entry(3).key) == record(3, 13)
    assert store.near([13]) == keys(3)
    assert len(set(store.with_template("t")) & set(keys(*range(30)))) == NEWEST_OF_TEMPLATE
    store.put_all([NewEntry(entry(1, body=b"first"), None), NewEntry(entry(1, body=b"last"), None)])
    found = store.get(entry(1).key)
    assert found
    assert found.body == b"last"
    store.put_all([])


def test_a_quick_read_gives_the_entry_or_says_that_it_would_be_slow(store: Store) -> None:
    tall = entry(3, body=b"x" * 3_000_000)
    for each in (entry(1), large(2), tall):
        put(store, each, None)
        quick = store.get_quickly(each.key)
        assert quick in (each, Slow.SLOW)
        assert store.get(each.key) == each
        assert quick is Slow.SLOW or each is not tall, "a body that grows when it is read"
        store.get(each.key)
        assert store.get_quickly(each.key) == each, "a copy in memory"
    assert store.get_quickly(entry(9).key) in (None, Slow.SLOW)


def test_on_disk_small_entries_and_misses_are_quick_and_large_ones_are_not(tmp_path: Path) -> None:
    disk = DiskStore(tmp_path, 2**30)
    put(disk, entry(1), None)
    put(disk, large(2), None)
    assert disk.get_quickly(entry(1).key) == entry(1)
    assert disk.get_quickly(large(2).key) is Slow.SLOW
    assert disk.get_quickly(entry(3).key) is None
    disk.close()
