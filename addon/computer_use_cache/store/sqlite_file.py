"""One SQLite file of our own: short transactions, readable by its owner only, and replaced by an empty one if it is
corrupt, or if another version of this package has written what this one cannot read. The latest such file is kept."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from computer_use_cache.errors import StoreClosed, StoreError
from computer_use_cache.store.read_only import Reader, can_only_be_read
from computer_use_cache.store.space import trim_log
from computer_use_cache.store.sqlite_failures import is_corrupt

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
_RETRY_SECONDS = 0.01


class SqliteFile:
    """Several processes and any thread may use it. Every method raises StoreError."""

    def __init__(self, path: Path, tables: str, content: str) -> None:
        """Opens or creates the file. The script `tables` creates what is missing in it. `content` is what messages
        call the things it holds."""
        self._path = path
        self._tables = tables
        self._content = content
        self._lock = threading.RLock()
        self._is_interrupted = False
        self._reader = Reader(path, tables) if can_only_be_read(path) else None
        with self._lock, self._failures():
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):  # another process may be writing to it
                    raise
                self._replace(error)

    def _open(self) -> sqlite3.Connection:
        if self._reader:
            return self._reader.connection()
        make_private(self._path)
        database = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                database.executescript(self._tables)
                return database
            except sqlite3.DatabaseError as error:
                # SQLite waits for locks, but not where two processes create the file and both set its journal mode.
                is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > deadline:
                    database.close()
                    raise
                time.sleep(_RETRY_SECONDS)

    def _replace(self, why: Exception) -> None:
        aside = f"{self._path}.corrupt"
        logger.warning(
            "%s in %s cannot be read (%s): moved to %s and replaced by an empty file",
            *(self._content, self._path, why, aside),
        )
        Path(f"{self._path}-shm").unlink(missing_ok=True)  # an index of the next file, which SQLite makes anew
        for ending in ("", "-wal"):  # each file keeps its own log
            Path(f"{aside}{ending}").unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{ending}").rename(f"{aside}{ending}")
        self._database = self._open()
        self._replaced()

    def _replaced(self) -> None:
        """An empty file has taken the place of a corrupt one."""

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self._content} in {self._path} cannot be used: {error}") from error

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._failures():
            try:
                if self._reader:
                    self._database = self._reader.connection()
                yield self._database
            except sqlite3.DatabaseError as error:
                if is_corrupt(error):
                    self._database.close()
                    self._replace(error)
                raise

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, or a part of the one that is under way."""
        with self._use() as database:
            if database.in_transaction:
                yield database
                return
            if self._is_interrupted:
                raise StoreClosed
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                with contextlib.suppress(
                    sqlite3.Error
                ):  # SQLite may have rolled back already, for example on a full disk
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _size(self) -> int:
        """The bytes in use."""
        with self._use() as database:
            pages, free, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def _trim_log(self) -> None:
        with self._use() as database:
            trim_log(database, self._path)

    def interrupt(self) -> None:
        """Have every further transaction raise StoreClosed, the next one of running work first."""
        self._is_interrupted = True

    def close(self) -> None:
        """Release the file."""
        with self._use() as database:
            database.close()


def make_private(path: Path) -> None:
    """Create a database's file, if it is new, readable by its owner only: SQLite gives its other files the same mode.

    An existing file must not be opened and closed here: closing releases the locks of everyone in this process who uses
    it (POSIX), and another process would then delete the log they write to.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
