"""One SQLite database with the files beside it, by diskcache: raw bytes only, and what is corrupt is set aside.

A database that cannot be read is renamed to `<name>.corrupt-<n>` and an empty one takes its place, at the start or at
whichever use finds it out. Its owner alone can read what is here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

import diskcache

from computer_use_cache.errors import StoreError

logger = logging.getLogger(__name__)

_FILE = "cache.db"
"""diskcache's own name for it."""
_BUSY_SECONDS = 5.0
_FILE_FROM_BYTES = 64 * 1024
"""Larger values are files of their own beside the database."""
_CACHED_PAGES = 256
"""Of 4 KiB, in each thread. diskcache's 8192 grow to hundreds of megabytes in eight shards, and are no quicker: the
file is mapped, and the system keeps its pages."""
_ORPHAN_SECONDS = 3600.0
"""A value's file is written before its row: a younger file may still get one."""
_READ = """
SELECT value, expire_time FROM Cache
WHERE key = ? AND raw = 1 AND (expire_time IS NULL OR expire_time > ?) AND (mode = 1 OR value IS NULL)
"""
"""Bytes in the row itself; NULL for a value in a file of its own."""
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FAILURES = (OSError, sqlite3.Error, diskcache.Timeout, TypeError, UnicodeDecodeError)
"""What diskcache raises; the last two come of harmed settings and names in the database."""


class RawDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Text keys and bytes values only: what diskcache would pickle is refused, read or written (CVE-2025-69872).

    A value's file bears its key, so that one without a row can be found.
    """

    def put(self, key: str) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"keys are text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: bool) -> str:
        if not raw or type(key) is not str:
            return ""  # not written by this program: names no entry
        return key

    def store(self, value: Any, read: bool, key: str = "") -> Any:
        if type(value) not in (bytes, int, float):
            raise TypeError(f"values are bytes or numbers, not {type(value).__name__}")
        return super().store(value, read, key)

    def filename(self, key: str = "", value: Any = None) -> tuple[str, str]:
        name = os.path.join(key[:2], key[2:4], f"{key}-{os.urandom(8).hex()}.val")
        return name, os.path.join(self._directory, name)

    def _write(self, full_path: str, iterator: Iterable[bytes], mode: str, encoding: str | None = None) -> Any:
        try:
            size = super()._write(full_path, iterator, mode, encoding)
            os.chmod(full_path, 0o600)
        except OSError:  # on a full disk half a file would be left
            with contextlib.suppress(OSError):
                os.remove(full_path)
            raise
        return size

    def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
        if mode == diskcache.core.MODE_RAW:
            return super().fetch(mode, filename, value, read)
        if mode == diskcache.core.MODE_BINARY and type(filename) is str and "\0" not in filename:
            return super().fetch(mode, filename, value, read)
        return None


class Use:
    """One use of a diskcache, for `with`: every hit that comes again makes one, and a generator would take three times
    as long."""

    __slots__ = ("_cache", "_failed")

    def __init__(self, cache: Any, failed: Callable[[Any, BaseException], None]) -> None:
        self._cache = cache
        self._failed = failed

    def __enter__(self) -> Any:
        return self._cache

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _FAILURES):
            self._failed(self._cache, error)


class Database:
    """A diskcache in `folder`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        """Opens or makes it; `settings` are diskcache's. Raises StoreError."""
        self._folder = folder
        self._settings = settings
        self._lock = threading.Lock()
        # A proxy that runs for minutes only is to come round everywhere, too.
        self._places = cycle(f"{number:02x}" for number in random.sample(range(256), 256))
        with failures(folder):
            if (folder.exists() and not folder.is_dir()) or (folder / _FILE).is_dir():
                self._set_aside("it is none")
            try:
                self._cache = self._open()
            except Exception as error:  # harmed settings can make diskcache raise anything
                if not _is_corrupt(error):
                    raise
                self._set_aside(error)
                self._cache = self._open()

    def _open(self) -> Any:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(self._folder / _FILE)
        for path in (self._folder, *self._folder.glob(_FILE + "*")):
            path.chmod(0o700 if path == self._folder else 0o600)
        self._number = (self._folder / _FILE).stat().st_ino
        return diskcache.Cache(
            str(self._folder),
            timeout=_BUSY_SECONDS,
            disk=RawDisk,
            disk_min_file_size=_FILE_FROM_BYTES,
            sqlite_cache_size=_CACHED_PAGES,
            **self._settings,
        )

    def read(self, key: str) -> tuple[Any, Any]:
        """A key's value, and until when it is kept (Unix seconds), or (None, None). A small value is read more quickly
        than by `use` and diskcache's `get`; the failures are the same."""
        cache = self._cache
        try:
            found: tuple[Any, Any] | None = cache._con.execute(_READ, (key, time.time())).fetchone()
            if found and found[0] is None:
                found = cache.get(key, expire_time=True)
            return found or (None, None)
        except _FAILURES as error:
            self._failed(cache, error)
            raise

    def use(self) -> Use:
        """The diskcache, whose failures become StoreErrors. When it turns out to be corrupt, this use fails and the
        next one has an empty one."""
        return Use(self._cache, self._failed)

    def _failed(self, cache: Any, error: BaseException) -> None:
        with failures(self._folder):
            if _is_corrupt(error):
                self._replace(cache, error)
            raise error

    def _replace(self, cache: Any, why: BaseException) -> None:
        with self._lock:
            if self._cache is not cache:
                return
            with contextlib.suppress(FileNotFoundError):
                if (self._folder / _FILE).stat().st_ino == self._number:  # else another process has done it
                    self._set_aside(why)
            self._cache = self._open()

    def _set_aside(self, why: object) -> None:
        names = (self._folder.with_name(f"{self._folder.name}.corrupt-{number}") for number in count(1))
        aside = next(name for name in names if not name.exists())
        self._folder.rename(aside)
        logger.warning(
            "the database %s is corrupt (%s): set aside as %s, an empty one begins", self._folder, why, aside
        )

    def remove_orphans(self) -> None:
        """Remove the files that no row names, which a killed process leaves; one part in 256 of them a call."""
        limit = time.time() - _ORPHAN_SECONDS  # the clock of the files' times
        for path in (self._folder / next(self._places)).glob("*/*-*.val"):
            with self.use() as cache:
                named = _file_of(cache, path.name.partition("-")[0])
            with contextlib.suppress(FileNotFoundError):  # its row may be gone by now, and the file with it
                if path != named and path.stat().st_mtime < limit:
                    path.unlink()


def make_private(path: Path) -> None:
    """Make a database's file if it is new, readable by its owner only: SQLite gives its other files the same mode.

    One that is there must not be opened and closed here: that would take away the locks of those in this process who
    use it (POSIX), and another process would then delete the log they write to.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _file_of(cache: Any, key: str) -> Path | None:
    """The file that holds a key's value."""
    value = cache.get(key, read=True)
    if not hasattr(value, "name"):
        return None
    with contextlib.closing(value):
        return Path(value.name)


def _is_corrupt(error: BaseException) -> bool:
    """Whether the file is no database, or not one of ours: then our statements are errors (SQLITE_ERROR)."""
    cause = _cause(error)
    if not isinstance(cause, sqlite3.Error):
        return not isinstance(cause, (OSError, diskcache.Timeout))
    code = getattr(cause, "sqlite_errorcode", -1)  # an extended code has the plain one in its low byte
    return code & 0xFF in _CORRUPT or (code == sqlite3.SQLITE_ERROR and "transaction" not in str(cause))


def _cause(error: BaseException) -> BaseException:
    """What diskcache hides behind its Timeout, or behind a rollback that was not needed any more."""
    while isinstance(error.__context__, (OSError, sqlite3.Error)):
        error = error.__context__
    return error


@contextlib.contextmanager
def failures(folder: Path) -> Iterator[None]:
    """Raise StoreError, with what to do, for what goes wrong with the files in `folder`."""
    try:
        yield
    except _FAILURES as error:
        cause = _cause(error)
        reason = str(cause) or type(cause).__name__
        raise StoreError(f"the store in {folder} cannot be used: {reason}; check the folder and CACHE_DIR") from error
