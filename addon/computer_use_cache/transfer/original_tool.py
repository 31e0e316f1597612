"""Reads the stores of the original tool of this name; it never writes to them.

The Python tool kept a SQLite file (table `completions`), the npm tool a folder with a JSON file per answer. Their keys
are useless here, so keys are computed from the requests. These name no upstream, so the current one is assumed.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.models import Request, Response, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.transfer.recordings import Recording, Summary, check_shared, importing_cache, keep_all

_PATHS = {"chat": "/chat/completions", "completion": "/completions"}
_OWN_FIELDS = ("mode", "cache_key", "credential_scope")
"""Fields that the original tool added to the body; later versions also add a digest of the upstream and the key."""
_END_OF_TIME = 1e11
_QUERY = "SELECT mode, request_json, response_json, updated_at FROM completions"


def read(path: Path, upstream: str) -> Iterator[Recording | Skipped]:
    """The recordings in a SQLite file or an npm cache folder, assumed to come from the API at the base URL `upstream`.

    A recording that cannot be read comes as a Skipped. Raises FormatError if `path` is not such a store.
    """
    rows = _folder_rows(path) if path.is_dir() else _sqlite_rows(path)
    for row in rows:
        yield row if isinstance(row, Skipped) else _recording(row, upstream)


def _sqlite_rows(path: Path) -> Iterator[Json | Skipped]:
    with contextlib.closing(_open(path)) as connection:
        try:
            for mode, request, response, updated_at in connection.execute(_QUERY):
                try:
                    row = {"mode": bytes(mode).decode(), "updated_at": updated_at}
                    yield row | {"request": load_object(request), "response": load_object(response)}
                except (FormatError, TypeError, ValueError) as error:
                    yield Skipped(f"damaged: {error}")
        except sqlite3.Error as error:
            yield Skipped(f"the rest of {path} cannot be read: {error}")


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        # Read text as bytes: otherwise SQLite stops reading at the first value that is not UTF-8.
        connection.text_factory = bytes
        connection.execute(_QUERY).close()
    except sqlite3.Error as error:
        raise FormatError(f"{path} cannot be read as the original tool's SQLite file: {error}") from None
    return connection


def _folder_rows(path: Path) -> Iterator[Json | Skipped]:
    folder = path / "entries" if (path / "entries").is_dir() else path
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FormatError(f"{path} holds no entries of the original tool (entries/<key>.json)")
    for file in files:
        try:
            yield load_object(file.read_bytes())
        except (FormatError, OSError) as error:
            yield Skipped(f"damaged: {error}")


def _recording(row: Json, upstream: str) -> Recording | Skipped:
    match row:
        case {"mode": "chat" | "completion" as mode, "request": dict(request), "response": dict(response)}:
            at = row.get("updated_at")
        case _:
            return Skipped("damaged: a field is missing or of the wrong type")
    if not isinstance(at, int | float) or not 0 <= at < _END_OF_TIME:
        return Skipped("damaged: updated_at is not a time in seconds")
    body = dump({name: value for name, value in request.items() if name not in _OWN_FIELDS})
    answer = Response(200, {"content-type": "application/json"}, dump(response), seconds=0.0)
    return Recording(Request(upstream, _PATHS[mode], (), {}, body), answer, at)


def import_once(settings: Settings, store: Store, *, loopback: bool, now: float) -> Summary | None:
    """Import the file or folder that CACHE_DB_PATH names, unless it has not changed since it was last imported.

    Returns None if there is nothing to do. Raises FormatError, SettingError and StoreError.
    """
    path = Path(settings.db_path).resolve()
    if not settings.db_path or not path.exists():
        return None
    name = f"imported {hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    changed_at = path.stat().st_mtime
    if store.counts().get(name, 0.0) >= changed_at:
        return None
    check_shared(settings, loopback=loopback)
    cache = importing_cache(settings, store, loopback=loopback)
    summary = keep_all(cache, read(path, str(settings.upstream_base_url)), now)
    store.add_counts({}, {name: changed_at})
    return summary
