"""Reads the stores of the original tool of this name, and puts recordings into the cache; it never writes to theirs.

The Python tool kept a SQLite file (table `completions`), the npm tool a folder with a JSON file per answer. Their keys
are of no use here, so ours are computed anew; they name no upstream, so the current one is taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from computer_use_cache.cache import Cache
from computer_use_cache.errors import FormatError, RequestError, SettingError
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.models import Entry, Request, Response, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store import Store
from computer_use_cache.values import Mode, Scope

_PATHS = {"chat": "/chat/completions", "completion": "/completions"}
_OWN_FIELDS = ("mode", "cache_key", "credential_scope")
"""Put beside the body's fields by the original; its later versions add a digest of upstream and key."""
_END_OF_TIME = 1e11
_QUERY = "SELECT mode, request_json, response_json, updated_at FROM completions"


@dataclass(frozen=True, slots=True)
class Recording:
    """One request and its answer, as they were recorded at `at` (Unix seconds)."""

    request: Request
    response: Response
    at: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of recordings: how many were `kept`, and how many `skipped` for which reason."""

    kept: int
    skipped: dict[str, int]


def read(path: Path, upstream: str) -> Iterator[Recording | Skipped]:
    """The recordings in a SQLite file or an npm cache folder, taken to be of the API at the base URL `upstream`.

    What cannot be read of it comes as a Skipped. Raises FormatError when `path` is no such store.
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
        # Text comes as bytes: SQLite would end the whole reading at the first that is not UTF-8.
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
            return Skipped("damaged: a field is missing or not of its kind")
    if not isinstance(at, int | float) or not 0 <= at < _END_OF_TIME:
        return Skipped("damaged: updated_at is not a time in seconds")
    body = dump({name: value for name, value in request.items() if name not in _OWN_FIELDS})
    answer = Response(200, {"content-type": "application/json"}, dump(response), seconds=0.0)
    return Recording(Request(upstream, _PATHS[mode], {}, {}, body), answer, at)


def keep(cache: Cache, recording: Recording, now: float) -> Entry | Skipped:
    """Put a recording into the cache, judged like an answer that had just come, but as old as it is.

    `now` is in Unix seconds. An entry that is as new or newer stays. Raises StoreError.
    """
    try:
        plan = cache.plan(recording.request)
    except RequestError as error:
        return Skipped(error.message)
    if bypass := cache.credential(plan):
        return Skipped(str(bypass))
    entry = cache.judge(plan, recording.response, recording.at)
    if isinstance(entry, Skipped):
        return entry
    if not entry.is_fresh(now):
        return Skipped("expired")
    held = cache.store.get(entry.key)
    if held and held.created_at >= entry.created_at:
        return Skipped("stored already")
    try:
        record = cache.record(plan)
    except FormatError as error:
        return Skipped(str(error))
    cache.keep(entry, now, record)
    return entry


def keep_all(cache: Cache, recordings: Iterable[Recording | Skipped], now: float) -> Summary:
    """Put recordings into the cache; what becomes of one does not touch the others. Raises StoreError."""
    kept, skipped = 0, Counter[str]()
    for recording in recordings:
        outcome = recording if isinstance(recording, Skipped) else keep(cache, recording, now)
        if isinstance(outcome, Skipped):
            skipped[outcome.reason] += 1
        else:
            kept += 1
    return Summary(kept, dict(skipped))


def importing_cache(settings: Settings, store: Store, *, loopback: bool) -> Cache:
    """The cache to import into: whatever the mode allows requests, the operator's own import writes.

    Raises SettingError where callers share nothing: recordings name no caller, so nobody would ever be served them.
    """
    if settings.scope is Scope.CREDENTIAL or (settings.scope is Scope.AUTO and not loopback):
        raise SettingError("CACHE_SCOPE: recordings name no caller; import them with CACHE_SCOPE=shared")
    return Cache(dataclasses.replace(settings, mode=Mode.READWRITE, enabled=True), store, loopback=loopback)


def import_once(settings: Settings, store: Store, *, loopback: bool, now: float) -> Summary | None:
    """Import the file or folder that CACHE_DB_PATH names, unless that was done since it last changed.

    None when there is nothing to do. Raises FormatError, SettingError and StoreError.
    """
    path = Path(settings.db_path).resolve()
    if not settings.db_path or not path.exists():
        return None
    name = f"imported {hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    changed_at = path.stat().st_mtime
    if store.counts().get(name, 0.0) >= changed_at:
        return None
    cache = importing_cache(settings, store, loopback=loopback)
    summary = keep_all(cache, read(path, str(settings.upstream_base_url)), now)
    store.add_counts({}, {name: changed_at})
    return summary
