"""Puts recordings from elsewhere into the cache. They are judged like live answers, but keep the age they have."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from computer_use_cache.cache import rebound
from computer_use_cache.cache.batches import split_recorded
from computer_use_cache.cache.cache import Cache
from computer_use_cache.diagnosis import request_record
from computer_use_cache.errors import FormatError, RequestError, SettingError
from computer_use_cache.models import Bypass, Entry, Request, RequestRecord, Response, Skipped
from computer_use_cache.setting_values import Mode, Scope
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import NewEntry, Store
from computer_use_cache.transfer import run_lines
from computer_use_cache.transfer.run_lines import ExportedRun

EXPORT_MARK = "computer_use_cache_export"
"""The only field in an export's first line."""

_CLOCKS_DIFFER = 86400.0
"""How many seconds into the future a recording's time may lie: clocks differ. A later time is damaged, and would keep
the entry past its TTL."""
_ENTRIES_AT_ONCE, _BYTES_AT_ONCE = 400, 8 * 1024 * 1024
"""A batch is written when it reaches either limit."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A request to a cached API and its answer, recorded at `at` (Unix seconds)."""

    request: Request
    response: Response
    at: float


@dataclass(frozen=True, slots=True)
class Exported:
    """An entry from an export, checked, and the record of its request if the export has it."""

    entry: Entry
    record: RequestRecord | None


@dataclass(frozen=True, slots=True)
class Damaged:
    """A part of a file that cannot be read: where it is, and why."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of recordings: how many were kept, how many were skipped for each reason, what was damaged, and how
    many runs were kept."""

    kept: int
    skipped: dict[str, int]
    damaged: tuple[Damaged, ...] = ()
    runs: int = 0


type Read = Recording | Exported | ExportedRun | Skipped | Damaged
"""Everything that may be found in a file or folder of recordings."""


class Kind(StrEnum):
    """What recordings can be read from."""

    ORIGINAL = "the original tool's SQLite file or npm folder"
    EXPORT = "an export of this cache"
    FLOWS = "a mitmproxy flow file"
    HAR = "a HAR file"


def kind_of(path: Path) -> Kind:
    """The kind of recordings in a file or folder, as its first bytes show. Raises FormatError if it is unknown."""
    if path.is_dir():
        return Kind.ORIGINAL
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from None
    if head.startswith(b"SQLite format 3\0"):
        return Kind.ORIGINAL
    if re.match(rb"[0-9]{1,12}:", head):
        return Kind.FLOWS
    if re.match(rb"\s*\{\s*\"" + EXPORT_MARK.encode() + rb'"', head):
        return Kind.EXPORT
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return Kind.HAR
    raise FormatError(f"{path} is not one of these: {', '.join(Kind)}")


def importing_cache(settings: Settings, store: Store, *, loopback: bool) -> Cache:
    """The cache to import into. The mode restricts requests, not the operator's own import."""
    return Cache(dataclasses.replace(settings, mode=Mode.READWRITE, enabled=True), store, loopback=loopback)


def check_shared(settings: Settings, *, loopback: bool) -> None:
    """Raise SettingError if callers share nothing: recordings name no caller, so nobody would ever be served them."""
    if settings.scope is Scope.CREDENTIAL or (settings.scope is Scope.AUTO and not loopback):
        raise SettingError("CACHE_SCOPE: recordings name no caller; import them with CACHE_SCOPE=shared")


class Importer:
    """Puts recordings into a cache as of `now` (Unix seconds). A recording replaces a stored entry only if it is newer.

    Entries are written in batches, the last one by `flush`. Methods raise StoreError.
    """

    def __init__(self, cache: Cache, now: float) -> None:
        self._cache = cache
        self._now = now
        self._batch: dict[str, NewEntry] = {}
        self._bytes = 0

    def keep(self, recording: Recording) -> Entry | Skipped:
        """Judge a recording and put it into the cache, with the parts of a batch of embeddings."""
        cache = self._cache
        try:
            plan = rebound.with_template(cache, rebound.prepare(cache, cache.plan(recording.request)))
            if isinstance(plan.verdict, Bypass):
                return Skipped(str(plan.verdict))
            entry = cache.judge(plan, recording.response, recording.at)
            if isinstance(entry, Skipped):
                return entry
            record = request_record.record(cache, plan)
            parts = split_recorded(cache, plan, recording.response, recording.at)
        except (RequestError, FormatError) as error:
            return Skipped(str(error))
        outcome = self.keep_exported(Exported(entry, record))
        if not isinstance(outcome, Skipped):
            for part in parts:
                self.keep_exported(Exported(part, None))
        return outcome

    def keep_exported(self, exported: Exported) -> Entry | Skipped:
        """Put an entry into the cache under the key it has."""
        entry = exported.entry
        if entry.created_at > self._now + _CLOCKS_DIFFER:
            return Skipped("recorded in the future")
        if not entry.is_fresh(self._now):
            return Skipped("expired")
        waiting = self._batch.get(entry.key)
        held = waiting.entry if waiting else self._cache.store.get(entry.key)
        if held and held.created_at >= entry.created_at:
            return Skipped("stored already")
        keep_seconds = self._cache.keep_seconds(entry, self._now)
        self._batch[entry.key] = NewEntry(entry, keep_seconds, exported.record)
        self._bytes += len(entry.body) + (len(exported.record.body) if exported.record else 0)
        if len(self._batch) >= _ENTRIES_AT_ONCE or self._bytes >= _BYTES_AT_ONCE:
            self.flush()
        return entry

    def flush(self) -> None:
        """Write what has not been written yet."""
        if self._batch:
            self._cache.store.put_all(list(self._batch.values()))
        self._batch, self._bytes = {}, 0


def keep(cache: Cache, recording: Recording, now: float) -> Entry | Skipped:
    """Put one recording into the cache; raises StoreError."""
    importer = Importer(cache, now)
    outcome = importer.keep(recording)
    importer.flush()
    return outcome


def keep_all(cache: Cache, recordings: Iterable[Read], now: float) -> Summary:
    """Put recordings into the cache, each independently of the others. Raises StoreError."""
    importer, kept, skipped, damaged = Importer(cache, now), 0, Counter[str](), list[Damaged]()
    runs = 0
    for recording in recordings:
        match recording:
            case Recording():
                outcome = importer.keep(recording)
            case Exported():
                outcome = importer.keep_exported(recording)
            case ExportedRun():
                is_new = run_lines.keep(cache.store.run_log, recording)
                runs += is_new
                skipped["stored already"] += not is_new
                continue
            case Skipped():
                outcome = recording
            case Damaged():
                damaged.append(recording)
                continue
            case _:
                assert_never(recording)
        if isinstance(outcome, Skipped):
            skipped[outcome.detail] += 1
        else:
            kept += 1
    importer.flush()
    return Summary(kept, dict(+skipped), tuple(damaged), runs)
