"""The requests of the entries on disk, in one SQLite file: found by key, or by what they share with another request.

It also keeps the log of the last misses. All of it only explains: where the file is corrupt, an empty one takes its
place, and no entry is harmed.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from computer_use_cache.errors import StoreError
from computer_use_cache.models import RequestRecord
from computer_use_cache.store import codec
from computer_use_cache.store.base import KEPT_MISSES, NEAR_CANDIDATES, NEWEST_OF_PART, weigh
from computer_use_cache.store.media_store import Media
from computer_use_cache.store.sqlite import make_private

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
_ROWS_PER_PIECE = 20
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


class Requests:
    """The file `path`; `size_limit` is in bytes. Several processes may use it, and any thread.

    What long texts the requests hold is kept in `media` for as long as one of them does.
    """

    def __init__(self, path: Path, size_limit: int, media: Media) -> None:
        """Opens or makes the file, readable by its owner only; raises StoreError."""
        self._path = path
        self._media = media
        self._size_limit = size_limit
        self._lock = threading.Lock()
        with self._lock, self._failures():
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                self._begin_anew(error)

    def _open(self) -> sqlite3.Connection:
        make_private(self._path)
        database = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        database.executescript(_TABLES)
        return database

    def _begin_anew(self, why: Exception) -> None:
        logger.warning("the recorded requests in %s cannot be read (%s): an empty file begins", self._path, why)
        for path in self._path.parent.glob(self._path.name + "*"):
            path.unlink()
        self._database = self._open()
        self._media.clear()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the recorded requests in {self._path} cannot be used: {error}") from error

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._failures():
            try:
                yield self._database
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    self._database.close()
                    self._begin_anew(error)
                raise

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._use() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def put(self, key: str, record: RequestRecord, keep_seconds: float | None) -> None:
        """Keep the request of an entry as long as the entry; raises StoreError, as all methods do."""
        expires_at = None if keep_seconds is None else time.time() + keep_seconds
        data = codec.encode_request(record)
        with self._change() as database:
            held = _delete(database, database.execute("SELECT id, data FROM requests WHERE key = ?", (key,)).fetchall())
            row = database.execute(
                "INSERT INTO requests (key, data, expires_at) VALUES (?, ?, ?)", (key, data, expires_at)
            )
            number = row.lastrowid
            database.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", [(part, number) for part in record.parts])
            digests = [(number, bytes.fromhex(digest)) for digest in record.media]
            database.executemany("INSERT INTO holds VALUES (?, ?)", digests)
            self._remove_unheld(database, held)
        # A process that dies here leaves a request without its pictures, and no picture without a request.
        for digest, text in record.media.items():
            self._media.add(digest, text)

    def get(self, key: str) -> RequestRecord | None:
        """The request of an entry, None when it is not known."""
        with self._use() as database:
            row = database.execute("SELECT data FROM requests WHERE key = ?", (key,)).fetchone()
        return codec.decode_request(row[0]) if row else None

    def near(self, parts: Sequence[int]) -> list[str]:
        """The keys of the requests that share most with `parts`, the best first; of equals, the newest."""
        newest = f"SELECT id FROM parts WHERE part = ? ORDER BY id DESC LIMIT {NEWEST_OF_PART}"  # noqa: S608
        with self._use() as database:
            holders = [[number for (number,) in database.execute(newest, (part,))] for part in parts]
            shared = weigh(holders)
            best = sorted(shared, key=lambda number: (-shared[number], -number))[:NEAR_CANDIDATES]
            keys = (database.execute("SELECT key FROM requests WHERE id = ?", (number,)).fetchone() for number in best)
            return [row[0] for row in keys if row]

    def delete(self, key: str) -> None:
        """Forget the request of an entry."""
        with self._change() as database:
            rows = database.execute("SELECT id, data FROM requests WHERE key = ?", (key,)).fetchall()
            self._remove_unheld(database, _delete(database, rows))

    def clear(self) -> None:
        """Forget all requests and misses, in short pieces."""
        while self._delete_piece("1"):
            pass
        with self._change() as database:
            database.execute("DELETE FROM misses")

    def maintain(self) -> None:
        """Forget what has expired, and the oldest when it is too much, in short pieces."""
        while self._delete_piece(f"expires_at < {time.time()!r}"):
            pass
        while self._size() > self._size_limit and self._delete_piece("1"):
            pass

    def _size(self) -> int:
        with self._use() as database:
            pages, free, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def _delete_piece(self, condition: str) -> int:
        with self._change() as database:
            chosen = f"SELECT id, data FROM requests WHERE {condition} ORDER BY id LIMIT {_ROWS_PER_PIECE}"  # noqa: S608
            rows = database.execute(chosen).fetchall()
            self._remove_unheld(database, _delete(database, rows))
        return len(rows)

    def _remove_unheld(self, database: sqlite3.Connection, digests: Iterable[bytes]) -> None:
        for digest in digests:
            if database.execute("SELECT 1 FROM holds WHERE digest = ?", (digest,)).fetchone() is None:
                self._media.remove(digest.hex())

    def add_miss(self, data: bytes) -> None:
        """Add a line to the log of misses; the oldest beyond `KEPT_MISSES` goes."""
        with self._change() as database:
            number = database.execute("INSERT INTO misses (data) VALUES (?)", (data,)).lastrowid
            database.execute("DELETE FROM misses WHERE id <= ?", ((number or 0) - KEPT_MISSES,))

    def misses(self) -> list[bytes]:
        """The log of misses, the newest first."""
        with self._use() as database:
            return [row[0] for row in database.execute("SELECT data FROM misses ORDER BY id DESC")]

    def close(self) -> None:
        """Let go of the file."""
        with self._use() as database:
            database.close()


def _delete(database: sqlite3.Connection, rows: Sequence[tuple[int, bytes]]) -> set[bytes]:
    """Delete the rows and what belongs to them; the digests that they held."""
    held: set[bytes] = set()
    for number, data in rows:
        record = codec.decode_request(data)
        pairs = [(part, number) for part in record.parts] if record else []
        database.executemany("DELETE FROM parts WHERE part = ? AND id = ?", pairs)
        held.update(digest for (digest,) in database.execute("SELECT digest FROM holds WHERE id = ?", (number,)))
        database.execute("DELETE FROM holds WHERE id = ?", (number,))
        database.execute("DELETE FROM requests WHERE id = ?", (number,))
    return held
