"""Entries in a folder: raw bytes in SQLite, no write on a read, every write a short transaction."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

from computer_use_cache.errors import StoreError
from computer_use_cache.memory import BoundedMemory, Seen
from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.store import codec
from computer_use_cache.store.base import (
    HIT_KEPT_SECONDS,
    LEAST_FOR_RUNS,
    NEWEST_OF_TEMPLATE,
    RUNS_SHARE,
    Choice,
    NewEntry,
    Size,
    Slow,
    weight,
)
from computer_use_cache.store.disk_leases import DiskLeases
from computer_use_cache.store.media_store import Media
from computer_use_cache.store.request_log import Requests
from computer_use_cache.store.run_log import Runs
from computer_use_cache.store.space import Reserve
from computer_use_cache.store.sqlite import BYTES_DELETED, Database, State
from computer_use_cache.store.sqlite_failures import failures
from computer_use_cache.units import counted

logger = logging.getLogger(__name__)

_SHARDS = 8
"""Each shard is a database of its own, so that two writers seldom wait for each other."""
_REQUESTS_SHARE, _MEDIA_SHARE = 0.1, 0.1
"""The shares of the size limit that are for the requests behind the entries, and for the screenshots in those."""
_ENTRIES_SHARE = 1 - _REQUESTS_SHARE - _MEDIA_SHARE - RUNS_SHARE
_QUICK_BYTES = 256 * 1024
"""An entry up to this size is decompressed on the event loop."""
_COPIES_BYTES = 32 * 1024 * 1024

type _Copy = tuple[State, Entry]

_NAMES = ("entries", "counters", "media", "leases", "requests.db", "runs.db", "space.reserve")
"""What a store consists of. Other names that begin with one of these are SQLite's, or were set aside."""


def _holds_only_a_store(folder: Path) -> bool:
    """False for a folder with other files, such as somebody's home: it keeps its mode. What the store adds to it is
    for its owner only in any case."""
    return all(path.name.startswith(_NAMES) for path in folder.iterdir())


class DiskStore:
    """The default store. `size_limit` is in bytes. Several processes may use one folder.

    An entry that is read again is kept in memory. The copy is served while SQLite reports that nothing in the entry's
    database has changed, so every hit still asks the disk.
    """

    def __init__(self, folder: Path, size_limit: int, *, leases: bool = False) -> None:
        """Opens or creates the folder, readable by its owner only; raises StoreError.

        With `leases`, processes that use it at the same time make one call for identical requests.
        """
        with failures(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._can_be_written = os.access(folder, os.W_OK)
            if self._can_be_written and _holds_only_a_store(folder):
                folder.chmod(0o700)
        self.folder = folder
        self._reserve = Reserve(folder / "space.reserve")
        try:
            self._open(folder, size_limit, leases)
        except StoreError:
            with self._reserve.lent():  # it may be the disk that is full
                self._open(folder, size_limit, leases)
        if not self._can_be_written:
            logger.warning("the store in %s can only be read: its answers are served, and no new ones stored", folder)
        self._reserve.refill()
        self._copies = BoundedMemory[str, _Copy](_COPIES_BYTES, lambda copy: weight(copy[1]))
        self._seen = Seen[str]()

    def _open(self, folder: Path, size_limit: int, leases: bool) -> None:
        if self._can_be_written:
            with failures(folder):
                (folder / "entries").mkdir(mode=0o700, exist_ok=True)
        self._shards = [
            Database(
                folder / "entries" / str(number),
                tagged=True,
                size_limit=int(size_limit * _ENTRIES_SHARE) // _SHARDS,
                eviction_policy="least-recently-stored",
            )
            for number in range(_SHARDS)
        ]
        self._counters = Database(folder / "counters", eviction_policy="none")
        self.leases = DiskLeases(folder / "leases") if leases and self._can_be_written else None
        self._media = Media(folder / "media", int(size_limit * _MEDIA_SHARE))
        self._requests = Requests(folder / "requests.db", int(size_limit * _REQUESTS_SHARE), self._media)
        self.run_log = Runs(folder / "runs.db", max(int(size_limit * RUNS_SHARE), LEAST_FOR_RUNS))

    def _shard(self, key: str) -> Database:
        return self._shards[_shard_number(key)]

    # -- entries

    def get(self, key: str) -> Entry | None:
        entry = self._read(key, math.inf)
        assert not isinstance(entry, Slow)
        return entry

    def get_quickly(self, key: str) -> Entry | Slow | None:
        return self._read(key, _QUICK_BYTES)

    def _read(self, key: str, most_bytes: float) -> Entry | Slow | None:
        database, state = self._shard(key), None
        if is_repeated := key in self._seen:
            state = database.state()  # taken first: the copy belongs to the state that it was read in
            if (copy := self._copies.get(key, time.time())) and copy[0] == state:
                return copy[1]
        if (row := database.read_row(key)) is None:
            return None
        data, expires_at = row
        if (codec.decoded_size(data) if isinstance(data, bytes) else math.inf) > most_bytes:
            return Slow.SLOW
        if data is None:
            data = database.read_file(key)
        entry = codec.decode(data) if isinstance(data, bytes) else None
        if entry and entry.key == key:
            if state:
                # SQLite also sorts a value that is not a number after every number.
                until = expires_at if isinstance(expires_at, float) else math.inf
                self._copies.put(key, (state, entry), until)
            elif not is_repeated:
                self._seen.add(key)
        return entry

    def put_all(self, batch: Sequence[NewEntry]) -> Set[str]:
        self._check_writable()
        new = {each.entry.key: each for each in batch}.values()
        rows: dict[int, list[tuple[str, bytes, float | None, str]]] = defaultdict(list)
        for entry, keep_seconds, _ in new:
            row = entry.key, codec.encode(entry), keep_seconds, entry.template
            rows[_shard_number(entry.key)].append(row)
        replaced = set[str]().union(*(self._shards[number].put(of_shard) for number, of_shard in rows.items()))
        records = [(entry.key, record, keep_seconds) for entry, keep_seconds, record in new if record]
        try:
            if records:
                self._requests.put(records)
        except StoreError as error:
            logger.warning("stored without their requests: %s (%s)", counted(len(records), "entry", "entries"), error)
        return replaced

    def with_template(self, template: str) -> list[str]:
        found = (database.tagged_with(template, NEWEST_OF_TEMPLATE) for database in self._shards)
        newest = sorted(itertools.chain.from_iterable(found), key=lambda item: -item[1])
        return [key for key, _ in newest[:NEWEST_OF_TEMPLATE]]

    def delete(self, key: str) -> bool:
        try:
            return self._delete(key)
        except StoreError:  # it may be the disk that is full
            with self._reserve.lent():
                return self._delete(key)

    def _delete(self, key: str) -> bool:
        self._requests.delete(self._requests.numbers([key]))
        return self._shard(key).delete([key]) == 1

    def entries(self) -> Iterator[Entry]:
        return heapq.merge(*map(_newest_first, self._shards), key=lambda entry: -entry.created_at)

    def clear(self, chosen: Choice | None = None) -> int:
        with self._reserve.lent():
            if chosen is None:
                self._requests.clear()
                self.run_log.clear()
                return sum(database.clear() for database in self._shards)
            removed, requests = 0, list[list[int]]()
            for database in self._shards:
                for keys in _chosen_keys(database, chosen):
                    removed += database.delete(keys)
                    requests.append(self._requests.numbers(keys))
            if removed:
                # Merged rather than sorted: sorting a long list would keep the interpreter from the event loop.
                self._requests.delete(heapq.merge(*requests))
                self._requests.sweep()
            return removed

    def probe(self) -> None:
        self._check_writable()
        with self._counters.use() as counters:
            counters.set("probe", 1)
            counters.delete("probe")

    def _check_writable(self) -> None:
        if not self._can_be_written:
            raise StoreError(
                f"the store in {self.folder} can only be read; set CACHE_DIR to a folder that can be written"
            )

    def size(self) -> Size:
        entries = size = 0
        for database in self._shards:
            with database.use() as shard:
                entries += len(shard)
                size += shard.volume()
        return Size(entries, size)

    def maintain(self) -> None:
        if not self._can_be_written:
            return
        for database in self._shards:
            database.cull()
            database.remove_orphans()
        self._requests.maintain()
        self._media.maintain()
        self.run_log.maintain()
        self._reserve.refill()

    # -- requests

    def request(self, key: str) -> RequestRecord | None:
        return self._requests.get(key)

    def put_request(self, key: str, record: RequestRecord) -> None:
        self._requests.put([(key, record, HIT_KEPT_SECONDS)])

    def media(self, digest: str) -> str | None:
        return self._media.get(digest)

    def near(self, parts: Sequence[int]) -> list[str]:
        return self._requests.near(parts)

    def add_miss(self, data: bytes) -> None:
        self._requests.add_miss(data)

    def misses(self) -> list[bytes]:
        return self._requests.misses()

    # -- counters

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

    def interrupt(self) -> None:
        for database in self._shards:
            database.interrupt()
        self._media.interrupt()
        for file in (self._requests, self.run_log):
            file.interrupt()

    def close(self) -> None:
        self._copies.clear()  # they hold connections
        self._requests.close()
        self.run_log.close()
        self._media.close()
        if self.leases:
            self.leases.close()
        for database in (*self._shards, self._counters):
            with database.use() as cache:
                cache.close()


def _shard_number(key: str) -> int:
    return zlib.crc32(key.encode()) % _SHARDS


def _newest_first(database: Database) -> Iterator[Entry]:
    for rows in database.walk():
        for _, data in rows:
            if (entry := codec.decode(data)) is not None:
                yield entry


def _chosen_keys(database: Database, chosen: Choice) -> Iterator[list[str]]:
    """The keys of the chosen entries, as many at a time as one transaction may delete."""
    keys, size = list[str](), 0
    for rows in database.walk():
        for key, data in rows:
            if (entry := codec.decode(data)) and chosen(entry):
                keys.append(key)
                size += len(data)
        if len(keys) + len(rows) > database.rows_at_once or size >= BYTES_DELETED:
            yield keys
            keys, size = [], 0
    if keys:
        yield keys
