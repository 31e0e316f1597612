"""Puts recordings from elsewhere into the cache: judged like answers that have just come, but as old as they are."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from computer_use_cache.cache.batches import split_recorded
from computer_use_cache.cache.cache import Cache
from computer_use_cache.diagnosis import request_record
from computer_use_cache.errors import FormatError, RequestError, SettingError
from computer_use_cache.models import Entry, Request, RequestRecord, Response, Skipped
from computer_use_cache.setting_values import Mode, Scope
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store

EXPORT_MARK = "computer_use_cache_export"
"""The one field of an export's first line."""

_CLOCKS_DIFFER = 86400.0
"""Seconds: a recording from further in the future has a damaged time, and would not expire for as long."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One request to a cached API and its answer, as they were recorded at `at` (Unix seconds)."""

    request: Request
    response: Response
    at: float


@dataclass(frozen=True, slots=True)
class Exported:
    """An entry as this cache exported it, checked, and the record of its request where that is known."""

    entry: Entry
    record: RequestRecord | None


@dataclass(frozen=True, slots=True)
class Damaged:
    """A part of a file that cannot be read: `where` it is, and `why`."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of recordings: how many were `kept`, how many `skipped` for which reason, and what was `damaged`."""

    kept: int
    skipped: dict[str, int]
    damaged: tuple[Damaged, ...] = ()


class Kind(StrEnum):
    """What recordings are read from."""

    ORIGINAL = "the original tool's SQLite file or npm folder"
    EXPORT = "an export of this cache"
    FLOWS = "a mitmproxy flow file"
    HAR = "a HAR file"


def kind_of(path: Path) -> Kind:
    """What a file or folder holds, by its first bytes. Raises FormatError when it is nothing that can be read."""
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
    raise FormatError(f"{path} is none of these: {', '.join(Kind)}")


def importing_cache(settings: Settings, store: Store, *, loopback: bool) -> Cache:
    """The cache to import into: whatever the mode allows requests, the operator's own import writes."""
    return Cache(dataclasses.replace(settings, mode=Mode.READWRITE, enabled=True), store, loopback=loopback)


def check_shared(settings: Settings, *, loopback: bool) -> None:
    """Raise SettingError where callers share nothing: recordings name no caller, so nobody would be served them."""
    if settings.scope is Scope.CREDENTIAL or (settings.scope is Scope.AUTO and not loopback):
        raise SettingError("CACHE_SCOPE: recordings name no caller; import them with CACHE_SCOPE=shared")


def keep(cache: Cache, recording: Recording, now: float) -> Entry | Skipped:
    """Put a recording into the cache; `now` is in Unix seconds.

    An entry that is as new or newer stays. Raises StoreError.
    """
    try:
        plan = cache.plan(recording.request)
        if bypass := cache.credential(plan):
            return Skipped(str(bypass))
        entry = cache.judge(plan, recording.response, recording.at)
        if isinstance(entry, Skipped):
            return entry
        record = request_record.record(cache, plan)
        parts = split_recorded(cache, plan, recording.response, recording.at)
    except (RequestError, FormatError) as error:
        return Skipped(str(error))
    outcome = keep_exported(cache, Exported(entry, record), now)
    if not isinstance(outcome, Skipped):
        for part in parts:
            keep_exported(cache, Exported(part, None), now)
    return outcome


def keep_exported(cache: Cache, exported: Exported, now: float) -> Entry | Skipped:
    """Put an entry into the cache under the key that it has; as `keep`."""
    entry = exported.entry
    if entry.created_at > now + _CLOCKS_DIFFER:
        return Skipped("recorded in the future")
    if not entry.is_fresh(now):
        return Skipped("expired")
    held = cache.store.get(entry.key)
    if held and held.created_at >= entry.created_at:
        return Skipped("stored already")
    cache.keep(entry, now, exported.record)
    return entry


def keep_all(cache: Cache, recordings: Iterable[Recording | Exported | Skipped | Damaged], now: float) -> Summary:
    """Put recordings into the cache; what becomes of one does not touch the others. Raises StoreError."""
    kept, skipped, damaged = 0, Counter[str](), list[Damaged]()
    for recording in recordings:
        match recording:
            case Recording():
                outcome = keep(cache, recording, now)
            case Exported():
                outcome = keep_exported(cache, recording, now)
            case Damaged():
                damaged.append(recording)
                continue
            case _:
                outcome = recording
        if isinstance(outcome, Skipped):
            skipped[outcome.detail] += 1
        else:
            kept += 1
    return Summary(kept, dict(skipped), tuple(damaged))
