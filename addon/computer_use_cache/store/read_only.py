"""Databases in a folder that cannot be written, as on a read-only mount. They are read; writing to them fails. One that
is missing is empty."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

import diskcache

from computer_use_cache.store.raw_disk import RawDisk

_SETTINGS = diskcache.DEFAULT_SETTINGS | diskcache.core.METADATA
_EMPTY_CACHE = f"""
CREATE TABLE Settings (key TEXT NOT NULL UNIQUE, value);
CREATE TABLE Cache (
    rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL, tag BLOB, size INTEGER,
    mode INTEGER, filename TEXT, value BLOB
);
INSERT INTO Settings VALUES {", ".join(f"({name!r}, {value!r})" for name, value in _SETTINGS.items())};
"""  # noqa: S608
"""What diskcache reads in a new folder."""


def can_only_be_read(path: Path) -> bool:
    """Whether the folder of a file, or the one in which its folders would be created, cannot be written."""
    folder = next(above for above in path.absolute().parents if above.exists())
    return not os.access(folder, os.W_OK)


class _State(NamedTuple):
    """What changes when a process that can write to the folder uses the database."""

    changed_at: int
    size: int
    is_in_use: bool
    """Whether there is a write-ahead log, which is there only while a process that can write has the file open."""


_MISSING = _State(0, 0, is_in_use=False)
"""The state of a file that was not created yet, or has only just been."""


def _state(path: Path) -> _State:
    try:
        found = path.stat()
    except FileNotFoundError:
        return _MISSING
    is_in_use = path.with_name(path.name + "-wal").exists()
    return _State(found.st_mtime_ns, found.st_size, is_in_use) if found.st_size or is_in_use else _MISSING


class Reader:
    """The connection of one thread, or of several that take turns, to a database that can only be read. The script
    `tables` makes the empty one that stands for a missing file."""

    def __init__(self, path: Path, tables: str) -> None:
        self._path = path
        self._tables = tables
        self._opened: tuple[_State, sqlite3.Connection] | None = None

    def connection(self) -> sqlite3.Connection:
        """The connection, opened anew if the file has changed."""
        state = _state(self._path)
        if self._opened and self._opened[0] != state:
            self._opened[1].close()
            self._opened = None
        if self._opened is None:
            self._opened = state, self._open(state)
        return self._opened[1]

    def _open(self, state: _State) -> sqlite3.Connection:
        """SQLite itself writes beside a database with a write-ahead log, even to read it, unless it is promised that
        nobody changes the file."""
        address = f"{self._path.resolve().as_uri()}?mode=ro{'' if state.is_in_use else '&immutable=1'}"
        if state == _MISSING:
            address = "file::memory:"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        if state == _MISSING:
            connection.executescript(self._tables)
            connection.execute("PRAGMA query_only = ON")
        return connection


class ReadOnlyCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A diskcache without what diskcache writes when it opens a folder. The file in the folder is `name`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        self._directory = str(folder)
        self._local = threading.local()
        self._txn_id = None
        self._disk = RawDisk(self._directory)
        for setting, value in self._con.execute("SELECT key, value FROM Settings"):
            setattr(self, setting, value)
        (self._page_size,) = self._con.execute("PRAGMA page_size").fetchone()

    @property
    def _con(self) -> sqlite3.Connection:
        reader: Reader | None = getattr(self._local, "con", None)
        if reader is None:
            reader = self._local.con = Reader(self._path, _EMPTY_CACHE)
        return reader.connection()

    def close(self) -> None:
        """Release the file."""
        self._con.close()
