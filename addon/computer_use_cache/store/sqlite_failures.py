"""What can go wrong with a database, and which of it means that the file is corrupt."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import diskcache

from computer_use_cache.errors import StoreError

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
FAILURES = (OSError, sqlite3.Error, diskcache.Timeout, TypeError, UnicodeDecodeError)
"""What diskcache raises; the last two come from damaged settings and file names in the database."""


def is_corrupt(error: BaseException) -> bool:
    """True if the file is not a database, or not one of ours: then our statements fail with SQLITE_ERROR."""
    cause = _cause(error)
    if not isinstance(cause, sqlite3.Error):
        return not isinstance(cause, (OSError, diskcache.Timeout))
    code = getattr(cause, "sqlite_errorcode", -1)  # an extended code has the plain one in its low byte
    return code & 0xFF in _CORRUPT or (code == sqlite3.SQLITE_ERROR and "transaction" not in str(cause))


def _cause(error: BaseException) -> BaseException:
    """The error that diskcache hides behind its Timeout, or behind a rollback that failed after it."""
    while isinstance(error.__context__, (OSError, sqlite3.Error)):
        error = error.__context__
    return error


@contextlib.contextmanager
def failures(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong with the files in `folder` into a StoreError that says what to do."""
    try:
        yield
    except FAILURES as error:
        cause = _cause(error)
        reason = str(cause) or type(cause).__name__
        raise StoreError(f"the store in {folder} cannot be used: {reason}; check the folder and CACHE_DIR") from error
