"""Entries in a folder, by diskcache: raw bytes only, no write on a read, every write a short transaction."""

from __future__ import annotations

import heapq
import logging
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from computer_use_cache.errors import StoreError
from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.store import codec
from computer_use_cache.store.base import LEASE_SECONDS, Choice, Size
from computer_use_cache.store.media_store import Media
from computer_use_cache.store.recurring import Recurring
from computer_use_cache.store.request_log import Requests
from computer_use_cache.store.sqlite import Database, failures
from computer_use_cache.store.unchanged import UnchangedEntries, state_of

logger = logging.getLogger(__name__)

_SHARDS = 8
"""Each shard is a database of its own, so that two writers seldom wait for each other."""
_ENTRIES_SHARE, _REQUESTS_SHARE, _MEDIA_SHARE = 0.8, 0.1, 0.1
"""The parts of the size limit: the entries, their requests, and the pictures in these."""


class DiskStore:
    """The default store. `size_limit` is in bytes. Several processes may use one folder."""

    is_quick = True

    def __init__(self, folder: Path, size_limit: int, *, leases: bool = False) -> None:
        """Opens or makes the folder, readable by its owner only; raises StoreError.

        With `leases`, processes that use it at the same time make one call of identical ones.
        """
        with failures(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        self.folder = folder
        self._shards = [
            Database(
                folder / "entries" / str(number),
                size_limit=int(size_limit * _ENTRIES_SHARE) // _SHARDS,
                eviction_policy="least-recently-stored",
            )
            for number in range(_SHARDS)
        ]
        self._unchanged = UnchangedEntries()
        self._recurring = Recurring()
        self._counters = Database(folder / "counters", eviction_policy="none")
        self.leases = DiskLeases(folder / "leases") if leases else None
        self._media = Media(folder / "media", int(size_limit * _MEDIA_SHARE))
        self._requests = Requests(folder / "requests.db", int(size_limit * _REQUESTS_SHARE), self._media)

    def _shard(self, key: str) -> Database:
        return self._shards[zlib.crc32(key.encode()) % _SHARDS]

    def get(self, key: str) -> Entry | None:
        database, state = self._shard(key), None
        if self._recurring.comes_again(key):
            with database.use() as shard:
                state = state_of(shard)  # a copy must have been read after the state that it is good for
            if (copy := self._unchanged.get(key, state)) is not None:
                return copy
        data, expires_at = database.read(key)
        entry = codec.decode(data) if isinstance(data, bytes) else None
        if state and entry and entry.key == key:
            # What is no number is later than any, for SQLite as well.
            self._unchanged.add(entry, state, expires_at if isinstance(expires_at, float) else math.inf)
        return entry

    def put(self, entry: Entry, keep_seconds: float | None, record: RequestRecord | None = None) -> bool:
        data = codec.encode(entry)
        with self._shard(entry.key).use() as shard:
            # A row keeps its place when it is overwritten: deleting it first keeps the rows in order of age.
            replaced = shard.delete(entry.key)
            shard.set(entry.key, data, expire=keep_seconds)
        if record:
            try:
                self._requests.put(entry.key, record, keep_seconds)
            except StoreError as error:
                logger.warning("entry %s is kept without its request: %s", entry.key[:8], error)
        return bool(replaced)

    def request(self, key: str) -> RequestRecord | None:
        return self._requests.get(key)

    def media(self, digest: str) -> str | None:
        return self._media.get(digest)

    def near(self, parts: Sequence[int]) -> list[str]:
        return self._requests.near(parts)

    def add_miss(self, data: bytes) -> None:
        self._requests.add_miss(data)

    def misses(self) -> list[bytes]:
        return self._requests.misses()

    def delete(self, key: str) -> bool:
        self._requests.delete(key)
        with self._shard(key).use() as shard:
            return bool(shard.delete(key))

    def entries(self) -> Iterator[Entry]:
        return heapq.merge(*map(self._newest_first, self._shards), key=_age_order)

    def _newest_first(self, database: Database) -> Iterator[Entry]:
        with database.use() as shard:
            for key in reversed(shard):
                data = shard.get(key)
                if isinstance(data, bytes) and (entry := codec.decode(data)) is not None:
                    yield entry

    def clear(self, chosen: Choice | None = None) -> int:
        if chosen is None:
            self._requests.clear()
            return sum(map(self._clear, self._shards))
        return sum(self.delete(entry.key) for entry in self.entries() if chosen(entry))

    def _clear(self, database: Database) -> int:
        with database.use() as shard:
            return int(shard.clear())

    def probe(self) -> None:
        with self._counters.use() as counters:
            counters.set("probe", 1)
            counters.delete("probe")

    def size(self) -> Size:
        entries = size = 0
        for database in self._shards:
            with database.use() as shard:
                entries += len(shard)
                size += shard.volume()
        return Size(entries, size)

    def maintain(self) -> None:
        for database in self._shards:
            with database.use() as shard:
                shard.cull()  # expires first
                database.remove_orphans()
        self._requests.maintain()
        self._media.maintain()

    def add_counts(self, counts: Mapping[str, float], latest: Mapping[str, float]) -> None:
        with self._counters.use() as counters, counters.transact():
            for name, count in counts.items():
                counters.incr(name, count)
            for name, value in latest.items():
                counters.set(name, max(value, counters.get(name, value)))

    def counts(self) -> dict[str, float]:
        with self._counters.use() as counters:
            return {name: counters.get(name, 0) for name in counters}

    def forget_counts(self, names: Iterable[str]) -> None:
        with self._counters.use() as counters, counters.transact():
            for name in names:
                counters.delete(name)

    def close(self) -> None:
        self._unchanged.clear()
        self._requests.close()
        self._media.close()
        if self.leases:
            self.leases.close()
        for database in (*self._shards, self._counters):
            with database.use() as cache:
                cache.close()


class DiskLeases:
    """The leases of processes on one machine."""

    def __init__(self, folder: Path) -> None:
        """Opens or makes the folder; raises StoreError."""
        self._leases = Database(folder, eviction_policy="none")

    def take(self, key: str, owner: str) -> str:
        with self._leases.use() as leases, leases.transact():
            holder = leases.get(key)
            if isinstance(holder, bytes) and holder != owner.encode():
                return holder.decode()
            leases.set(key, owner.encode(), expire=LEASE_SECONDS)
            return owner

    def renew(self, key: str, owner: str) -> None:
        with self._leases.use() as leases, leases.transact():
            if leases.get(key) == owner.encode():
                leases.touch(key, expire=LEASE_SECONDS)

    def release(self, key: str, owner: str) -> None:
        with self._leases.use() as leases, leases.transact():
            if leases.get(key) == owner.encode():
                leases.delete(key)

    def close(self) -> None:
        """Let go of the files."""
        with self._leases.use() as leases:
            leases.close()


def _age_order(entry: Entry) -> float:
    return -entry.created_at
