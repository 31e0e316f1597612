"""Disk space: what to do when it runs out. SQLite writes before it frees, so a full disk would stop removing too."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_RESERVED_BYTES = 1024 * 1024
"""Several times the bytes that deleting `_ROWS_DELETED_IF_SCARCE` rows in one transaction writes."""
_SCARCE_BYTES = 64 * 1024 * 1024
_ROWS_DELETED, _ROWS_DELETED_IF_SCARCE = 5000, 200


def _is_scarce(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < _SCARCE_BYTES


def rows_at_once(folder: Path) -> int:
    """How many rows a transaction may delete: SQLite writes every page that it changes, and a full disk has no room for
    many."""
    return _ROWS_DELETED_IF_SCARCE if _is_scarce(folder) else _ROWS_DELETED


def trim_log(connection: sqlite3.Connection, path: Path) -> None:
    """Return the space of a database's write-ahead log to a file system that is nearly full.

    SQLite reuses the log but never shrinks it, and lets it grow to several megabytes.
    """
    if _is_scarce(path.parent):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class Reserve:
    """A file that takes up space until it is needed. Several processes may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refill(self) -> None:
        """Set the space aside, if the disk has it."""
        with contextlib.suppress(OSError):
            if self._path.exists():
                return
            try:
                # Random bytes: a file system that compresses would keep no space for others.
                self._path.write_bytes(os.urandom(_RESERVED_BYTES))
                self._path.chmod(0o600)
            except OSError:
                self.release()

    def release(self) -> None:
        """Give the space back to the disk."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Frees the space inside the `with`, and sets it aside again afterwards."""
        self.release()
        try:
            yield
        finally:
            self.refill()
