"""Databases in a folder that cannot be written, as on a read-only mount. They are read; writing to them fails."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import diskcache

from computer_use_cache.store.raw_disk import RawDisk


def can_only_be_read(path: Path) -> bool:
    """Whether there is a file in a folder that cannot be written."""
    return path.exists() and not os.access(path.parent, os.W_OK)


def _state(path: Path) -> tuple[int, int, bool]:
    """Compares unequal once another process, which can write to the folder, has used the database."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, path.with_name(path.name + "-wal").exists()


def connect(path: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """Open a database that can only be read.

    SQLite itself writes beside a database with a write-ahead log, even to read it, unless it is promised that nobody
    changes the file. The log is there only while somebody does.
    """
    is_in_use = path.with_name(path.name + "-wal").exists()
    address = f"{path.resolve().as_uri()}?mode=ro{'' if is_in_use else '&immutable=1'}"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=check_same_thread)


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
        connection: sqlite3.Connection | None = getattr(self._local, "con", None)
        state = _state(self._path)
        if connection is None or self._local.state != state:
            if connection:
                connection.close()
            self._local.state, connection = state, connect(self._path)
            self._local.con = connection
        return connection
