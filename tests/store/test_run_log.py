"""What every store does with runs; then what only the file on disk has to do."""

from __future__ import annotations

import random
import sqlite3
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from computer_use_cache.errors import StoreError
from computer_use_cache.models import Cost, Outcome
from computer_use_cache.run_models import Call, Run
from computer_use_cache.store import sqlite_file
from computer_use_cache.store.base import CALLS_OF_RUN, LEAST_FOR_RUNS, Choice, Store
from computer_use_cache.store.run_log import Runs
from made import LIMIT, Opener, entry, put

START = 1_700_000_000.0


def run(number: int, **changes: object) -> Run:
    began = START + number
    made = Run(id=f"run{number:06}", name=f"agent {number}", began=began, ended=began, command=("agent", str(number)))
    return replace(made, **changes)  # type: ignore[arg-type]


def call(number: int, **changes: object) -> Call:
    made = Call(
        at=START + number,
        outcome=Outcome.MISS,
        format="chat_completions",
        path="/chat/completions",
        model="m",
        key=f"{number:064x}",
        seconds=2.0,
        cost=Cost(10, 20, 0.5, 2.0),
        near_key="1" * 64,
        near_place="/messages/0/content @ char 812",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_runs_come_newest_first(store: Store) -> None:
    assert store.run_log.runs(5) == []
    for number in (1, 3, 2):
        store.run_log.add_run(run(number))
    assert store.run_log.runs(5) == [run(3), run(2), run(1)]
    assert store.run_log.runs(2) == [run(3), run(2)]
    assert store.run_log.run(run(1).id) == run(1)
    assert store.run_log.run("unknown") is None


def test_a_run_keeps_its_calls_when_it_is_replaced(store: Store) -> None:
    log = store.run_log
    log.add_run(run(1))
    assert log.add_calls(run(1).id, [call(3), call(4)]) == range(1, 3)
    assert log.add_calls(run(1).id, [call(2, outcome=Outcome.HIT, rebound=3)]) == range(3, 4)
    ended = run(1, ended=START + 9, status=3, parent=run(0).id, folder="/src")
    log.add_run(ended)
    assert log.runs(1) == [ended]
    assert log.calls(run(1).id) == [call(3), call(4), call(2, outcome=Outcome.HIT, rebound=3)]


def test_a_run_without_a_status_ends_with_its_last_call(store: Store) -> None:
    store.run_log.add_run(run(1))
    store.run_log.add_calls(run(1).id, [call(5, seconds=3.0), call(6, seconds=0.5)])
    assert store.run_log.run(run(1).id) == run(1, ended=START + 8)


def test_calls_of_an_unknown_run_are_not_kept(store: Store) -> None:
    assert not store.run_log.add_calls("unknown", [call(1)])
    assert store.run_log.calls("unknown") == []


def test_a_deleted_run_is_gone_with_its_calls_and_its_label(store: Store) -> None:
    log = store.run_log
    assert log.join_run(run(1), "nightly", 0.0) == run(1).id
    log.add_calls(run(1).id, [call(1)])
    log.add_run(run(2))
    assert log.delete_run(run(1).id) is True
    assert log.delete_run(run(1).id) is False
    assert log.calls(run(1).id) == []
    assert log.runs(5) == [run(2)]
    assert log.join_run(run(3), "nightly", 0.0) == run(3).id


def test_a_run_is_joined_by_its_label_while_it_was_active_lately(store: Store) -> None:
    log = store.run_log
    assert log.join_run(run(1), "nightly", run(1).began - 10) == run(1).id
    assert log.join_run(run(2), "nightly", run(2).began - 10) == run(1).id
    assert log.join_run(run(2), "daily", run(2).began - 10) == run(2).id
    log.add_calls(run(1).id, [call(20, seconds=0.0)])
    assert log.join_run(run(30), "nightly", START + 20) == run(1).id
    assert log.join_run(run(31), "nightly", START + 21) == run(31).id
    assert log.join_run(run(32), "nightly", START + 21) == run(31).id
    assert log.runs(9) == [run(31), run(2), run(1, ended=START + 20)]


def test_a_conversation_that_begins_again_is_another_run(store: Store) -> None:
    log = store.run_log
    assert log.join_run(run(1), "opening", 0.0, begins=True) == run(1).id
    assert log.join_run(run(2), "opening", 0.0, begins=True) == run(1).id, "asked again before it went on"
    assert log.join_run(run(3), "opening", 0.0) == run(1).id
    assert log.join_run(run(4), "opening", 0.0, begins=True) == run(4).id
    assert log.join_run(run(5), "opening", 0.0) == run(4).id


def test_processes_that_ask_at_once_join_one_run(open_store: Opener) -> None:
    logs = [open_store().run_log for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(log.join_run, run(n), "nightly", 0.0) for n, log in enumerate(logs * 5)]
    [joined] = {one.result() for one in asked}
    assert [found.id for found in logs[0].runs(9)] == [joined]


def test_the_oldest_runs_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[type(store.run_log).__module__], "KEPT_RUNS", 30)
    with store.run_log.together():
        for number in range(32):
            store.run_log.join_run(run(number), f"label {number}", 0.0)
            store.run_log.add_calls(run(number).id, [call(number)])
    assert [found.id for found in store.run_log.runs(99)] == [run(number).id for number in range(31, 1, -1)]
    store.run_log.add_run(run(32))
    assert [found.id for found in store.run_log.runs(99)] == [run(number).id for number in range(32, 2, -1)]
    assert store.run_log.calls(run(2).id) == []


def test_the_oldest_runs_go_when_they_take_too_much_space(store: Store) -> None:
    for number in range(20):
        store.run_log.add_run(run(number))
        large = call(number, reason=random.Random(number).randbytes(LEAST_FOR_RUNS // 10).hex())
        store.run_log.add_calls(run(number).id, [large])
    store.run_log.maintain()
    left = [found.id for found in store.run_log.runs(99)]
    assert left == [run(number).id for number in range(19, 19 - len(left), -1)]
    assert 5 < len(left) < 11


def test_a_run_keeps_its_first_calls(store: Store) -> None:
    store.run_log.add_run(run(1))
    calls = [call(number) for number in range(CALLS_OF_RUN)]
    assert store.run_log.add_calls(run(1).id, calls[:-1]) == range(1, CALLS_OF_RUN)
    assert store.run_log.add_calls(run(1).id, [calls[-1], call(99_999)]) == range(CALLS_OF_RUN, CALLS_OF_RUN + 1)
    assert not store.run_log.add_calls(run(1).id, [call(99_999)])
    assert store.run_log.calls(run(1).id) == calls


def test_clearing_everything_clears_the_runs(store: Store) -> None:
    put(store, entry(1), None)
    store.run_log.add_run(run(1))
    assert store.clear(Choice(model="model-1")) == 1
    assert store.run_log.runs(1) == [run(1)]
    store.clear()
    assert store.run_log.runs(1) == []
    store.run_log.add_run(run(2))
    assert store.run_log.clear() == 1
    assert store.run_log.runs(1) == []


def test_runs_survive_a_restart(open_store: Opener) -> None:
    first = open_store()
    first.run_log.add_run(run(1))
    first.run_log.add_calls(run(1).id, [call(1)])
    first.close()
    again = open_store()
    assert again.run_log.calls(again.run_log.runs(1)[0].id) == [call(1)]


# -- on disk


def test_a_corrupt_file_becomes_an_empty_one_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    log = Runs(path, LIMIT)
    log.add_run(run(1))
    assert log.runs(1) == [run(1)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log.close()


def test_what_another_version_has_written_is_set_aside_and_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for number in (1, 2):
        Runs(path, LIMIT).add_run(run(number))  # stays open, so its newest part is in SQLite's log
        with sqlite3.connect(path) as database:
            database.execute("ALTER TABLE runs RENAME COLUMN data TO content")
        database.close()
        log = Runs(path, LIMIT)
        with pytest.raises(StoreError, match="no such column: data"):
            log.runs(9)
        assert log.runs(9) == []
        log.close()
        with sqlite3.connect(f"{path}.corrupt") as database:
            assert database.execute("SELECT id FROM runs").fetchall() == [(run(number).id,)]
        database.close()


def test_a_file_that_another_process_holds_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.05)
    path = tmp_path / "runs.db"
    log = Runs(path, LIMIT)
    log.add_run(run(1))
    log.close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        Runs(path, LIMIT)
    holder.close()
    assert Runs(path, LIMIT).runs(9) == [run(1)]


def test_a_disk_keeps_all_changes_made_together_or_none(tmp_path: Path) -> None:
    log = Runs(tmp_path / "runs.db", 10**9)
    log.add_run(run(1))

    def fail() -> None:
        with log.together():
            log.add_calls(run(1).id, [call(1)])
            log.join_run(run(2), "nightly", 0.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (log.calls(run(1).id), log.runs(9)) == ([], [run(1)])
    with log.together():
        log.add_calls(run(1).id, [call(1)])
    assert log.calls(run(1).id) == [call(1)]
