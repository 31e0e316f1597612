"""What is counted reaches the store, once, whatever fails in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from computer_use_cache.accounting.ledger import HISTORY_HOURS, MOST_MODELS, OTHER_MODELS, Ledger
from computer_use_cache.errors import StoreError
from computer_use_cache.models import Cost, Outcome, Reason, Skip
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

NOTHING: dict[str, Any] = {
    "hits": 0,
    "misses": 0,
    "bypasses": {},
    "stale": 0,
    "coalesced": 0,
    "refusals": 0,
    "hit_rate": 0.0,
    "stored": 0,
    "skips": {},
    "rebound_hits": 0,
    "rebound": {},
    "not_rebound": {},
    "studies_put_off": 0,
    "studies_made_up": 0,
    "studies_dropped": 0,
    "last_updated_at": None,
    "models": {},
    "history": [],
}
HOUR = 480_000
NOW = HOUR * 3600.0
COST = Cost(10, 5, 0.25, 2.0)
ZERO = {"input_tokens": 0, "output_tokens": 0, "usd": 0.0, "seconds": 0.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "store", 2**20)
    yield store
    store.close()


def totals(ledger: Ledger) -> dict[str, Any]:
    """What was counted, without the store's size and the settings that stand beside it."""
    statistics = msgspec.to_builtins(ledger.statistics(Settings.load({}), NOW))
    return {name: statistics[name] for name in NOTHING}


def count_everything(ledger: Ledger) -> None:
    for outcome, times in ((Outcome.HIT, 3), (Outcome.MISS, 1), (Outcome.STALE, 2)):
        for _ in range(times):
            ledger.served(outcome, "m", COST)
    ledger.served(Outcome.MISS, "", Cost(seconds=1.0))
    ledger.coalesced()
    ledger.saved("m", replace(COST, seconds=0.0))
    for reason in (Reason.MODEL, Reason.MODEL, Reason.HEADER):
        ledger.bypassed(reason)
    ledger.refused()
    ledger.rebound([("uuid", 2), ("tmp", 1)])
    ledger.not_rebound("a picture differs")
    for skip in (Skip.STATUS, Skip.CLIENT, Skip.STATUS):
        ledger.skipped(skip)
    ledger.study_put_off()
    ledger.study_put_off()
    ledger.study_made_up()
    for _ in range(3):
        ledger.study_dropped()
    ledger.stored(20.0)
    ledger.stored(10.0)


EVERYTHING: dict[str, Any] = {
    "hits": 3,
    "misses": 2,
    "bypasses": {Reason.MODEL: 2, Reason.HEADER: 1},
    "stale": 2,
    "coalesced": 1,
    "refusals": 1,
    "hit_rate": 0.6,
    "stored": 2,
    "skips": {Skip.STATUS: 2, Skip.CLIENT: 1},
    "rebound_hits": 1,
    "rebound": {"tmp": 1, "uuid": 2},
    "not_rebound": {"a picture differs": 1},
    "studies_put_off": 2,
    "studies_made_up": 1,
    "studies_dropped": 3,
    "last_updated_at": 20.0,
    "models": {
        "": {
            "hits": 0,
            "misses": 1,
            "stale": 0,
            "saved": ZERO | {"usd": None},
            "spent": ZERO | {"usd": None, "seconds": 1.0},
            "priced": False,
            "list_price": False,
        },
        "m": {
            "hits": 3,
            "misses": 1,
            "stale": 2,
            "saved": {"input_tokens": 60, "output_tokens": 30, "usd": 1.5, "seconds": 10.0},
            "spent": {"input_tokens": 10, "output_tokens": 5, "usd": 0.25, "seconds": 2.0},
            "priced": True,
            "list_price": False,
        },
    },
    "history": [{"from": HOUR * 3600, "hits": 3, "misses": 2}],
}


def test_a_new_ledger_has_counted_nothing(store: DiskStore) -> None:
    assert totals(Ledger(store)) == NOTHING


def test_everything_is_counted(store: DiskStore) -> None:
    ledger = Ledger(store)
    count_everything(ledger)
    assert totals(ledger) == EVERYTHING
    assert totals(ledger) == EVERYTHING


def test_what_was_flushed_survives_and_is_shared(store: DiskStore) -> None:
    ledger = Ledger(store)
    count_everything(ledger)
    ledger.flush(NOW)
    assert totals(Ledger(store)) == EVERYTHING


def test_what_was_not_flushed_is_not_in_the_store(store: DiskStore) -> None:
    Ledger(store).coalesced()
    assert totals(Ledger(store)) == NOTHING


def test_the_last_store_of_any_proxy_counts(store: DiskStore) -> None:
    first, second = Ledger(store), Ledger(store)
    first.stored(20.0)
    second.stored(10.0)
    first.flush(NOW)
    assert totals(second)["last_updated_at"] == 20.0


class BrokenStore(DiskStore):
    """A store that cannot be written until it is mended."""

    broken = True

    def add_counts(self, counts: Any, latest: Any) -> None:
        if self.broken:
            raise StoreError("disk full")
        super().add_counts(counts, latest)


def test_a_flush_that_fails_loses_nothing(tmp_path: Path) -> None:
    store = BrokenStore(tmp_path / "store", 2**20)
    ledger = Ledger(store)
    count_everything(ledger)
    for _ in range(2):
        with pytest.raises(StoreError):
            ledger.flush(NOW)
    with pytest.raises(StoreError):
        totals(ledger)
    store.broken = False
    assert totals(ledger) == EVERYTHING
    store.close()


@pytest.mark.parametrize("model", ["a\tb", "models\tx\thits", "\ud800", "m" * 100_000, "\u00e9 '%"])
def test_any_model_that_a_client_names_is_counted(store: DiskStore, model: str) -> None:
    ledger = Ledger(store)
    ledger.served(Outcome.HIT, model, COST)
    stats = totals(ledger)
    assert stats["hits"] == 1
    assert [(counts["hits"], counts["misses"]) for counts in stats["models"].values()] == [(1, 0)]


def test_threads_count_together(store: DiskStore) -> None:
    ledger = Ledger(store)

    def work() -> None:
        for _ in range(50):
            ledger.served(Outcome.HIT, "m", COST)
        ledger.flush(NOW)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals(ledger)["hits"] == 200


def test_models_without_bound_are_counted_together(store: DiskStore) -> None:
    for proxy in range(2):
        ledger = Ledger(store)
        for number in range(MOST_MODELS + 50):
            ledger.served(Outcome.HIT, f"m{proxy}-{number}", COST)
        ledger.flush(NOW)
    stats = totals(Ledger(store))
    assert len(stats["models"]) == MOST_MODELS + 1
    assert stats["models"][OTHER_MODELS]["hits"] == MOST_MODELS + 100
    assert sum(counts["saved"]["input_tokens"] for counts in stats["models"].values()) == 10 * stats["hits"]


def test_a_store_that_cannot_be_written_lets_no_model_names_pile_up(tmp_path: Path) -> None:
    store = BrokenStore(tmp_path / "store", 2**20)
    ledger = Ledger(store)
    for number in range(3 * MOST_MODELS):
        ledger.served(Outcome.HIT, "m" * 1000 + str(number), COST)
        ledger.served(Outcome.HIT, str(number), COST)
    with pytest.raises(StoreError):
        ledger.flush(NOW)
    store.broken = False
    models = totals(ledger)["models"]
    assert len(models) == MOST_MODELS + 1
    assert max(map(len, models)) < 1000
    store.close()


def test_the_history_is_of_the_last_hours(store: DiskStore) -> None:
    ledger = Ledger(store)
    for hour in range(HISTORY_HOURS + 10):
        ledger.served(Outcome.MISS, "m", COST)
        ledger.flush(NOW + hour * 3600 + 1)
        ledger.served(Outcome.HIT, "m", COST)
        ledger.flush(NOW + hour * 3600 + 3599)
    history = ledger.statistics(Settings.load({}), NOW).history
    assert [entry.start for entry in history] == [(HOUR + hour) * 3600 for hour in range(10, HISTORY_HOURS + 10)]
    assert {(entry.hits, entry.misses) for entry in history} == {(1, 1)}
