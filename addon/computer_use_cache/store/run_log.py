"""Runs and their calls on disk, in one SQLite file. Only people look at them: if the file is corrupt, an empty one
replaces it, and no entry is lost."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from computer_use_cache.errors import StoreError
from computer_use_cache.run_models import Call, Run
from computer_use_cache.store import codec
from computer_use_cache.store.base import CALLS_OF_RUN, KEPT_RUNS
from computer_use_cache.store.sqlite_file import SqliteFile

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, began REAL NOT NULL, active REAL NOT NULL, data BLOB NOT NULL, calls INTEGER DEFAULT 0,
    label TEXT, continued INTEGER DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_began ON runs (began);
CREATE INDEX IF NOT EXISTS runs_label ON runs (label, began) WHERE label IS NOT NULL;
CREATE TABLE IF NOT EXISTS calls (number INTEGER PRIMARY KEY, run TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS calls_of_run ON calls (run);
"""
_ADD = """
INSERT INTO runs (id, began, active, data) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET began = excluded.began, data = excluded.data
"""
_JOINED = """
SELECT id FROM runs WHERE label = ? AND active >= ? AND continued <= ? ORDER BY began DESC, id DESC LIMIT 1
"""
_EVICTED_AT_ONCE = 20


class Runs(SqliteFile):
    """The file `path`; `size_limit` is in bytes. The methods are those of `RunLog`."""

    def __init__(self, path: Path, size_limit: int) -> None:
        """Opens or creates the file, readable by its owner only."""
        self._size_limit = size_limit
        super().__init__(path, _TABLES, "the runs")

    def add_run(self, run: Run) -> None:
        with self._change() as database:
            _add(database, run)
        self.maintain()

    def join_run(self, run: Run, label: str, since: float, *, begins: bool = False) -> str:
        with self._change() as database:
            found = database.execute(_JOINED, (label, since, 0 if begins else 1)).fetchone()
            if not found:
                _add(database, run)
                database.execute("UPDATE runs SET label = ? WHERE id = ?", (label, run.id))
            id = str(found[0]) if found else run.id
            if not begins:
                database.execute("UPDATE runs SET continued = 1 WHERE id = ?", (id,))
        return id

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._change():
            yield
        with contextlib.suppress(StoreError):  # the calls are stored, and the next flush makes room too
            self.maintain()

    def add_calls(self, id: str, calls: Sequence[Call]) -> range:
        with self._change() as database:
            row = database.execute("SELECT calls FROM runs WHERE id = ?", (id,)).fetchone()
            before = row[0] if row else CALLS_OF_RUN
            if kept := calls[: CALLS_OF_RUN - before]:
                database.execute("INSERT INTO calls (run, data) VALUES (?, ?)", (id, codec.encode_calls(kept)))
                active = max(call.at + call.seconds for call in kept)
                database.execute(
                    "UPDATE runs SET calls = calls + ?, active = max(active, ?) WHERE id = ?", (len(kept), active, id)
                )
        return range(before + 1, before + 1 + len(kept))

    def runs(self, limit: int) -> list[Run]:
        with self._use() as database:
            rows = database.execute("SELECT data, active FROM runs ORDER BY began DESC, id DESC LIMIT ?", (limit,))
            return [run for data, active in rows if (run := read_run(data, active))]

    def run(self, id: str) -> Run | None:
        with self._use() as database:
            row = database.execute("SELECT data, active FROM runs WHERE id = ?", (id,)).fetchone()
        return read_run(*row) if row else None

    def calls(self, id: str) -> list[Call]:
        with self._use() as database:
            rows = database.execute("SELECT data FROM calls WHERE run = ? ORDER BY number", (id,)).fetchall()
        return [call for (data,) in rows for call in codec.decode_calls(data)]

    def delete_run(self, id: str) -> bool:
        return self._delete([id]) == 1

    def _delete(self, ids: Sequence[str]) -> int:
        with self._change() as database:
            marks = ", ".join("?" * len(ids))
            database.execute(f"DELETE FROM calls WHERE run IN ({marks})", ids)  # noqa: S608
            deleted = database.execute(f"DELETE FROM runs WHERE id IN ({marks})", ids).rowcount  # noqa: S608
        self._trim_log()
        return deleted

    def clear(self) -> int:
        deleted = 0
        while ids := self._oldest(_EVICTED_AT_ONCE):
            deleted += self._delete(ids)
        return deleted

    def maintain(self) -> None:
        while (surplus := self._number() - KEPT_RUNS) > 0:
            self._delete(self._oldest(min(surplus, _EVICTED_AT_ONCE)))
        while self._size() > self._size_limit and (ids := self._oldest(1)):
            self._delete(ids)

    def _number(self) -> int:
        with self._use() as database:
            return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])

    def _oldest(self, limit: int) -> list[str]:
        with self._use() as database:
            return [id for (id,) in database.execute("SELECT id FROM runs ORDER BY began, id LIMIT ?", (limit,))]


def read_run(data: bytes, active: float) -> Run | None:
    """The stored run, which was last active then; None if this version cannot read it."""
    run = codec.decode_run(data)
    return replace(run, ended=max(run.ended, active)) if run and run.status is None else run


def _add(database: sqlite3.Connection, run: Run) -> None:
    database.execute(_ADD, (run.id, run.began, run.began, codec.encode_run(run)))
