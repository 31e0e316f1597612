"""One SQLite database and the files beside it, managed by diskcache. Values are raw bytes, never pickles.

A database that turns out to be corrupt, at the start or later, is renamed to `<name>.corrupt-<n>` and replaced by an
empty one. Only the owner can read its files.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any, NamedTuple

import diskcache

from computer_use_cache.errors import StoreClosed
from computer_use_cache.store.raw_disk import RawDisk
from computer_use_cache.store.read_only import ReadOnlyCache, can_only_be_read
from computer_use_cache.store.space import rows_at_once, trim_log
from computer_use_cache.store.sqlite_failures import FAILURES, failures, is_corrupt
from computer_use_cache.store.sqlite_file import make_private

logger = logging.getLogger(__name__)

_FILE = "cache.db"
"""diskcache's name for it."""
_BUSY_SECONDS = 5.0
_FILE_FROM_BYTES = 64 * 1024
"""Larger values get a file of their own beside the database."""
_CACHED_PAGES = 256
"""Of 4 KiB, per thread. diskcache's default of 8192 grows to hundreds of megabytes over eight shards and is no faster:
the file is memory-mapped, and the system caches its pages."""
_ORPHAN_SECONDS = 3600.0
"""A value's file is written before its row, so a younger file may still get one."""
_ROWS_READ = 20
"""Rows per query: each may hold 64 KiB."""
BYTES_DELETED = 16 * 1024 * 1024
"""About what a transaction deletes at most."""

_ALIVE = "raw = 1 AND (expire_time IS NULL OR expire_time > ?)"
_READ = f"SELECT value, expire_time FROM Cache WHERE key = ? AND {_ALIVE} AND (mode = 1 OR value IS NULL)"  # noqa: S608
"""The value is NULL if it has a file of its own."""
_WALK = f"""
SELECT rowid, key, mode, filename, value FROM Cache WHERE rowid < ? AND {_ALIVE} ORDER BY rowid DESC LIMIT {_ROWS_READ}
"""  # noqa: S608
_TAGGED = f"SELECT key, store_time FROM Cache WHERE tag = ? AND {_ALIVE} ORDER BY store_time DESC LIMIT ?"  # noqa: S608
_TAG_INDEX = "CREATE INDEX IF NOT EXISTS Cache_tag_time ON Cache (tag, store_time) WHERE tag IS NOT NULL"
"""diskcache's own index of tags would hold a row for every value without one."""
_EXPIRED = "SELECT rowid, filename FROM Cache WHERE expire_time < ? ORDER BY expire_time LIMIT 100"
_OLDEST = "SELECT rowid, filename FROM Cache ORDER BY store_time LIMIT ?"
_LAST = "SELECT rowid, filename FROM Cache ORDER BY rowid DESC LIMIT ?"
_LAST_ROW = 2**63 - 1


class State(NamedTuple):
    """The state of a database as one connection sees it: it is equal to an earlier one only if nothing has changed."""

    connection: sqlite3.Connection
    data_version: int
    """Changes when another connection, of this process or another, has changed the database."""
    own_changes: int


class Use:
    """One use of a diskcache, for `with`. Every repeated hit makes one, so it is a class: a generator-based context
    manager takes three times as long."""

    __slots__ = ("_cache", "_failed")

    def __init__(self, cache: Any, failed: Callable[[Any, BaseException], None]) -> None:
        self._cache = cache
        self._failed = failed

    def __enter__(self) -> Any:
        return self._cache

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FAILURES):
            self._failed(self._cache, error)


class Database:
    """A diskcache in `folder`. Every method raises StoreError."""

    def __init__(self, folder: Path, *, tagged: bool = False, **settings: Any) -> None:
        """Opens or creates it. `tagged`: values have tags that are searched for. `settings` are diskcache's."""
        self._folder = folder
        self._tagged = tagged
        self._settings = settings
        self._lock = threading.Lock()
        self._is_interrupted = False
        self._number = 0
        """That of the file, if it can be written."""
        # In random order, so that proxies which run only for minutes still visit every folder between them.
        self._places = cycle(f"{number:02x}" for number in random.sample(range(256), 256))
        with failures(folder):
            if (folder.exists() and not folder.is_dir()) or (folder / _FILE).is_dir():
                self._set_aside("not a database")
            try:
                self._cache = self._open()
            except Exception as error:  # damaged settings can make diskcache raise anything
                if not is_corrupt(error):
                    raise
                self._set_aside(error)
                self._cache = self._open()

    def _open(self) -> Any:
        file = self._folder / _FILE
        if can_only_be_read(file):
            return ReadOnlyCache(self._folder, _FILE)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(file)
        for path in (self._folder, *self._folder.glob(_FILE + "*")):
            path.chmod(0o700 if path == self._folder else 0o600)
        self._number = file.stat().st_ino
        cache = diskcache.Cache(
            str(self._folder),
            timeout=_BUSY_SECONDS,
            disk=RawDisk,
            disk_min_file_size=_FILE_FROM_BYTES,
            sqlite_cache_size=_CACHED_PAGES,
            **self._settings,
        )
        if self._tagged:
            cache._con.execute(_TAG_INDEX)
        trim_log(cache._con, file)
        return cache

    # -- reading

    def read_row(self, key: str) -> tuple[Any, Any] | None:
        """A key's value (None if it has a file of its own) and when it expires (Unix seconds; None: never).

        Faster than diskcache's `get`.
        """
        cache = self._cache
        try:
            found: tuple[Any, Any] | None = cache._con.execute(_READ, (key, time.time())).fetchone()
        except FAILURES as error:
            self._failed(cache, error)
            raise
        return found

    def read_file(self, key: str) -> Any:
        """The value of a key that has a file of its own."""
        with self.use() as cache:
            return cache.get(key)

    def walk(self) -> Iterator[list[tuple[str, bytes]]]:
        """All keys and values, the last stored first, a few at a time. The database may change meanwhile."""
        below = _LAST_ROW
        while True:
            self._check_interrupted()
            with self.use() as cache:
                rows = cache._con.execute(_WALK, (below, time.time())).fetchall()
                found = [(key, _fetched(cache, *stored)) for _, key, *stored in rows]
            if not rows:
                return
            below = rows[-1][0]
            yield [(key, value) for key, value in found if type(key) is str and type(value) is bytes]

    def tagged_with(self, tag: str, limit: int) -> list[tuple[str, float]]:
        """The keys of the newest values with a tag, and when each was stored (Unix seconds), newest first."""
        with self.use() as cache:
            return list(cache._con.execute(_TAGGED, (tag, time.time(), limit)))

    def state(self) -> State:
        """The state that this thread's connection sees now."""
        with self.use() as cache:
            connection = cache._con
            (data_version,) = connection.execute("PRAGMA data_version").fetchone()
            return State(connection, data_version, connection.total_changes)

    # -- writing

    def put(self, items: Iterable[tuple[str, bytes, float | None, str]]) -> set[str]:
        """Store values in one transaction. Returns the keys of those that replaced others. Each has a key, a value, the
        seconds for which it is kept (None: forever), and a tag ("": none)."""
        replaced = set[str]()
        with self.use() as cache, cache.disk.removing_last(), cache.transact():
            for key, value, keep_seconds, tag in items:
                # A row keeps its place when it is overwritten. Deleted first, rows stay in the order of their storing.
                if cache.delete(key):
                    replaced.add(key)
                cache.set(key, value, expire=keep_seconds, tag=tag or None)
        return replaced

    def delete(self, keys: Sequence[str]) -> int:
        """Remove at most `rows_at_once` keys in one transaction. Returns how many of them existed."""
        marks = ", ".join("?" * len(keys))
        return self._delete(f"SELECT rowid, filename FROM Cache WHERE raw = 1 AND key IN ({marks})", keys)  # noqa: S608

    @property
    def rows_at_once(self) -> int:
        """How many rows a transaction may delete."""
        return rows_at_once(self._folder)

    def clear(self) -> int:
        """Remove everything in short transactions. Returns the number of values.

        The last rows go first: the file then ends where the remaining ones do, and SQLite, which keeps it compact, need
        not move them. On a full disk there would be no room for that.
        """
        removed = 0
        while number := self._delete(_LAST, (self.rows_at_once,)):
            removed += number
        return removed

    def cull(self) -> None:
        """Remove what has expired, then what was stored first until the rest is within `size_limit`."""
        while self._delete(_EXPIRED, (time.time(),)):
            pass
        with self.use() as cache:
            while (volume := cache.volume()) > cache.size_limit and (rows := len(cache)):
                surplus, most = volume - cache.size_limit, min(self.rows_at_once * volume // rows, BYTES_DELETED)
                if not self._delete(_OLDEST, (max(min(surplus, most) * rows // volume, 1),)):
                    return

    def _delete(self, chosen: str, arguments: Sequence[Any]) -> int:
        self._check_interrupted()
        with self.use() as cache:
            with cache.transact():
                rows = cache._con.execute(chosen, arguments).fetchall()
                numbers = ", ".join(str(number) for number, _ in rows)
                cache._con.execute(f"DELETE FROM Cache WHERE rowid IN ({numbers})")  # noqa: S608
            for _, filename in rows:
                if type(filename) is str:
                    cache.disk.remove(filename)
            trim_log(cache._con, self._folder / _FILE)
        return len(rows)

    def remove_orphans(self) -> None:
        """Remove files without a row, which a killed process leaves behind. Each call looks into one of 256 folders."""
        limit = time.time() - _ORPHAN_SECONDS  # the clock of the files' times
        for path in (self._folder / next(self._places)).glob("*/*-*.val"):
            with self.use() as cache:
                named = _file_of(cache, path.name.partition("-")[0])
            with contextlib.suppress(FileNotFoundError):  # its row may be gone by now, and the file with it
                if path != named and path.stat().st_mtime < limit:
                    path.unlink()

    def interrupt(self) -> None:
        """Have work that takes many transactions raise StoreClosed before its next one."""
        self._is_interrupted = True

    def _check_interrupted(self) -> None:
        if self._is_interrupted:
            raise StoreClosed

    # -- failures

    def use(self) -> Use:
        """The diskcache, whose failures become StoreErrors. If it turns out to be corrupt, this use fails and the next
        one gets an empty database."""
        return Use(self._cache, self._failed)

    def _failed(self, cache: Any, error: BaseException) -> None:
        with failures(self._folder):
            if is_corrupt(error):
                self._replace(cache, error)
            raise error

    def _replace(self, cache: Any, why: BaseException) -> None:
        with self._lock:
            if self._cache is not cache:
                return
            with contextlib.suppress(FileNotFoundError):
                if (self._folder / _FILE).stat().st_ino == self._number:  # else another process has replaced it
                    self._set_aside(why)
            self._cache = self._open()

    def _set_aside(self, why: object) -> None:
        names = (self._folder.with_name(f"{self._folder.name}.corrupt-{number}") for number in count(1))
        aside = next(name for name in names if not name.exists())
        self._folder.rename(aside)
        logger.warning(
            "the database %s is corrupt (%s): moved to %s and replaced by an empty one", self._folder, why, aside
        )


def _fetched(cache: Any, mode: int, filename: Any, value: Any) -> Any:
    """The value of a row; None if its file is gone."""
    with contextlib.suppress(FileNotFoundError):
        return cache.disk.fetch(mode, filename, value, False)
    return None


def _file_of(cache: Any, key: str) -> Path | None:
    """The file that holds a key's value."""
    value = cache.get(key, read=True)
    if not hasattr(value, "name"):
        return None
    with contextlib.closing(value):
        return Path(value.name)
