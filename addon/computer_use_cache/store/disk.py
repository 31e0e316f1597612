"""Entries in a folder, by diskcache: raw bytes only, no write on a read, every write a short transaction."""

from __future__ import annotations

import contextlib
import heapq
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diskcache

from computer_use_cache import codec
from computer_use_cache.errors import StoreError
from computer_use_cache.models import Entry
from computer_use_cache.store import Choice, Size

_SHARDS = 8
"""Each shard is a database of its own, so that two writers seldom wait for each other."""
_BUSY_SECONDS = 5.0
_FILE_FROM_BYTES = 64 * 1024
"""Larger values are files of their own beside the database."""


class RawDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Text keys and bytes values only: what diskcache would pickle is refused, read or written (CVE-2025-69872)."""

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

    def fetch(self, mode: int, filename: str, value: Any, read: bool) -> Any:
        if mode not in (diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY):
            return None
        return super().fetch(mode, filename, value, read)


class DiskStore:
    """The default store. `size_limit` is in bytes. Several processes may use one folder."""

    is_quick = True
    leases = None

    def __init__(self, folder: Path, size_limit: int) -> None:
        """Opens or makes the folder, readable by its owner only; raises StoreError."""
        with _failures(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(folder, 0o700)
            self._shards = [
                diskcache.Cache(
                    str(folder / "entries" / str(number)),
                    timeout=_BUSY_SECONDS,
                    disk=RawDisk,
                    disk_min_file_size=_FILE_FROM_BYTES,
                    size_limit=size_limit // _SHARDS,
                    eviction_policy="least-recently-stored",
                )
                for number in range(_SHARDS)
            ]
            self._counters = diskcache.Cache(
                str(folder / "counters"), timeout=_BUSY_SECONDS, disk=RawDisk, eviction_policy="none"
            )
        self._folder = folder

    def _shard(self, key: str) -> Any:
        return self._shards[zlib.crc32(key.encode()) % _SHARDS]

    def get(self, key: str) -> Entry | None:
        with _failures(self._folder):
            data = self._shard(key).get(key)
        return codec.decode(data) if isinstance(data, bytes) else None

    def put(self, entry: Entry, keep_seconds: float | None) -> bool:
        data = codec.encode(entry)
        shard = self._shard(entry.key)
        with _failures(self._folder):
            # A row keeps its place when it is overwritten: deleting it first keeps the rows in order of age.
            replaced = shard.delete(entry.key)
            shard.set(entry.key, data, expire=keep_seconds)
        return bool(replaced)

    def delete(self, key: str) -> bool:
        with _failures(self._folder):
            return bool(self._shard(key).delete(key))

    def entries(self) -> Iterator[Entry]:
        return heapq.merge(*map(self._newest_first, self._shards), key=_age_order)

    def _newest_first(self, shard: Any) -> Iterator[Entry]:
        with _failures(self._folder):
            for key in reversed(shard):
                if (entry := self.get(key)) is not None:
                    yield entry

    def clear(self, chosen: Choice | None = None) -> int:
        if chosen is None:
            with _failures(self._folder):
                return sum(shard.clear() for shard in self._shards)
        return sum(self.delete(entry.key) for entry in self.entries() if chosen(entry))

    def probe(self) -> None:
        with _failures(self._folder):
            self._counters.set("probe", 1)
            self._counters.delete("probe")

    def size(self) -> Size:
        with _failures(self._folder):
            return Size(sum(map(len, self._shards)), sum(shard.volume() for shard in self._shards))

    def maintain(self) -> None:
        with _failures(self._folder):
            for shard in self._shards:
                shard.cull()  # expires first

    def add_counts(self, counts: Mapping[str, float], latest: Mapping[str, float]) -> None:
        with _failures(self._folder), self._counters.transact():
            for name, count in counts.items():
                self._counters.incr(name, count)
            for name, value in latest.items():
                self._counters.set(name, max(value, self._counters.get(name, value)))

    def counts(self) -> dict[str, float]:
        with _failures(self._folder):
            return {name: self._counters.get(name, 0) for name in self._counters}

    def close(self) -> None:
        with _failures(self._folder):
            for cache in (*self._shards, self._counters):
                cache.close()


def _age_order(entry: Entry) -> float:
    return -entry.created_at


@contextlib.contextmanager
def _failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, diskcache.Timeout) as error:
        reason = str(error) or type(error).__name__
        raise StoreError(f"the store in {folder} cannot be used: {reason}; check the folder and CACHE_DIR") from error
