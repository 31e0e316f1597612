"""The requests behind the entries on disk, in one SQLite file, found by key or by similarity to another request. The
file also holds the log of misses. It only serves explanations: if it is corrupt, an empty one replaces it, and no entry
is lost.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from computer_use_cache.models import RequestRecord
from computer_use_cache.store import codec
from computer_use_cache.store.base import KEPT_MISSES, NEAR_CANDIDATES, NEWEST_OF_PART, weigh
from computer_use_cache.store.media_store import Media
from computer_use_cache.store.space import rows_at_once
from computer_use_cache.store.sqlite_file import SqliteFile

_LEFT_AFTER_EVICTION = 0.95
"""The share of the size limit to free at once, because a sweep of all parts follows each eviction."""
_TABLES = """
PRAGMA page_size = 8192;  -- of a new file: two records of 1.6 KB would leave a fifth of a smaller page empty
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, data BLOB NOT NULL, expires_at REAL
);
CREATE INDEX IF NOT EXISTS requests_expire ON requests (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS parts (part INTEGER, id INTEGER, PRIMARY KEY (part, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds (id INTEGER, digest BLOB, PRIMARY KEY (id, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_by ON holds (digest);
CREATE TABLE IF NOT EXISTS misses (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL);
"""
_ADD = "INSERT INTO requests (key, data, expires_at) VALUES (?, ?, ?) RETURNING id"
_NEWEST_OF_PART = f"""
SELECT parts.id FROM parts CROSS JOIN requests ON requests.id = parts.id
WHERE part = ? ORDER BY parts.id DESC LIMIT {NEWEST_OF_PART}
"""  # noqa: S608
_SWEPT_AT_ONCE = 64
"""In how many pieces the parts are swept."""
_SWEEP = """
DELETE FROM parts WHERE part BETWEEN ? AND ? AND NOT EXISTS (SELECT 1 FROM requests WHERE requests.id = parts.id)
"""


class Requests(SqliteFile):
    """The file `path`; `size_limit` is in bytes. Several processes and any thread may use it. Every method raises
    StoreError.

    Deleting a request leaves its parts behind, which are scattered over their table and would be slow to remove one by
    one. `near` skips them, and a sweep in the table's order removes them. The texts in `media` go with the last request
    that refers to them.
    """

    def __init__(self, path: Path, size_limit: int, media: Media) -> None:
        """Opens or creates the file, readable by its owner only."""
        self._media = media
        self._size_limit = size_limit
        super().__init__(path, _TABLES, "the recorded requests")

    def _replaced(self) -> None:
        self._media.clear()

    # -- requests

    def put(self, records: Sequence[tuple[str, RequestRecord, float | None]]) -> None:
        """Store the requests of entries by key, each for the same number of seconds as its entry (None: forever)."""
        now = time.time()
        rows = [
            (key, codec.encode_request(record), None if keep_seconds is None else now + keep_seconds)
            for key, record, keep_seconds in records
        ]
        parts, held = list[tuple[int, int]](), list[tuple[int, bytes]]()
        with self._change() as database:
            earlier = _numbers(database, [key for key, _, _ in records])
            replaced = _delete(database, earlier) if earlier else set()
            for row, (_, record, _) in zip(rows, records, strict=True):
                number = database.execute(_ADD, row).fetchone()[0]
                parts += ((part, number) for part in record.parts)
                held += ((number, bytes.fromhex(digest)) for digest in record.media)
            parts.sort()  # in the table's order, each of its pages is read and written once
            database.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", parts)
            database.executemany("INSERT INTO holds VALUES (?, ?)", held)
            self._remove_unheld(database, replaced)
        # If the process dies here, a request lacks its pictures; a picture never lacks its request.
        for _, record, _ in records:
            for digest, text in record.media.items():
                self._media.add(digest, text)

    def get(self, key: str) -> RequestRecord | None:
        """The request of an entry; None if it is not known."""
        with self._use() as database:
            row = database.execute("SELECT data FROM requests WHERE key = ?", (key,)).fetchone()
        return codec.decode_request(row[0]) if row else None

    def near(self, parts: Sequence[int]) -> list[str]:
        """The keys of the requests that share most with `parts`, the best first; among equals, the newest."""
        with self._use() as database:
            holders = [[number for (number,) in database.execute(_NEWEST_OF_PART, (part,))] for part in parts]
            shared = weigh(holders)
            best = sorted(shared, key=lambda number: (-shared[number], -number))[:NEAR_CANDIDATES]
            keys = (database.execute("SELECT key FROM requests WHERE id = ?", (number,)).fetchone() for number in best)
            return [row[0] for row in keys if row]

    def numbers(self, keys: Sequence[str]) -> list[int]:
        """The numbers of the requests of some thousand entries at most, in order, for `delete`."""
        with self._use() as database:
            return _numbers(database, keys)

    def delete(self, numbers: Iterable[int]) -> None:
        """Remove requests by their numbers, in short transactions. If they are in order, each page is written only
        once."""
        for batch in itertools.batched(numbers, rows_at_once(self._path.parent)):
            with self._change() as database:
                self._remove_unheld(database, _delete(database, batch))
            self._trim_log()

    def clear(self) -> None:
        """Remove all requests and misses, in short transactions."""
        self.delete(self._chosen("1 ORDER BY id"))
        self.sweep()
        with self._change() as database:
            database.execute("DELETE FROM misses")

    def maintain(self) -> None:
        """Remove what has expired, then the oldest while they are over the limit, in short transactions."""
        self.delete(self._chosen("expires_at < ? ORDER BY id", time.time()))
        if self._size() <= self._size_limit:
            return
        self.sweep()
        wanted = self._size_limit * _LEFT_AFTER_EVICTION
        while (size := self._size()) > wanted and (number := self._number()):
            self.delete(self._chosen("1 ORDER BY id LIMIT ?", int(number * (size - wanted) / size) + 1))
            self.sweep()

    def sweep(self) -> None:
        """Remove the parts of deleted requests, in short transactions."""
        with self._change() as database:
            if database.execute("SELECT 1 FROM requests LIMIT 1").fetchone() is None:
                database.execute("DELETE FROM parts")  # SQLite need not visit every row
                return
        step = 2**64 // _SWEPT_AT_ONCE
        for start in range(-(2**63), 2**63, step):
            with self._change() as database:
                database.execute(_SWEEP, (start, start + step - 1))
            self._trim_log()

    def _number(self) -> int:
        with self._use() as database:
            return int(database.execute("SELECT count(*) FROM requests").fetchone()[0])

    def _chosen(self, condition: str, *values: float) -> list[int]:
        with self._use() as database:
            rows = database.execute(f"SELECT id FROM requests WHERE {condition}", values)  # noqa: S608
            return [number for (number,) in rows]

    def _remove_unheld(self, database: sqlite3.Connection, digests: Iterable[bytes]) -> None:
        held = "SELECT 1 FROM holds WHERE digest = ?"
        if unheld := [each.hex() for each in digests if database.execute(held, (each,)).fetchone() is None]:
            self._media.remove(unheld)

    # -- misses

    def add_miss(self, data: bytes) -> None:
        """Append to the log of misses, which keeps the last `KEPT_MISSES`."""
        with self._change() as database:
            number = database.execute("INSERT INTO misses (data) VALUES (?)", (data,)).lastrowid
            database.execute("DELETE FROM misses WHERE id <= ?", ((number or 0) - KEPT_MISSES,))

    def misses(self) -> list[bytes]:
        """The log of misses, newest first."""
        with self._use() as database:
            return [row[0] for row in database.execute("SELECT data FROM misses ORDER BY id DESC")]


def _numbers(database: sqlite3.Connection, keys: Sequence[str]) -> list[int]:
    marks = ", ".join("?" * len(keys))
    return [n for (n,) in database.execute(f"SELECT id FROM requests WHERE key IN ({marks}) ORDER BY id", keys)]  # noqa: S608


def _delete(database: sqlite3.Connection, numbers: Sequence[int]) -> set[bytes]:
    """Delete requests; the digests that they referred to."""
    rows = f"IN ({', '.join(map(str, numbers))})"
    digests = {digest for (digest,) in database.execute(f"SELECT digest FROM holds WHERE id {rows}")}  # noqa: S608
    database.execute(f"DELETE FROM holds WHERE id {rows}")  # noqa: S608
    database.execute(f"DELETE FROM requests WHERE id {rows}")  # noqa: S608
    return digests
