"""Entries on Redis or Valkey servers, shared by every proxy that names them in CACHE_STORE_URL.

The servers expire them. Each change of an entry and of the tables about it is one script (redis_scripts.py), which a
cluster runs on one server: an entry and its tables have a prefix whose hash tag gives them one slot.

If replicas are read, they only take over the sending of entries. The primary says under which number an entry was
stored, and a replica's copy is used only if the replica has that number too. An entry that was deleted or replaced is
therefore never served from a replica that lags.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from computer_use_cache.errors import StoreDown
from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.store import base, codec, redis_scripts
from computer_use_cache.store.base import LEAST_FOR_RUNS, RUNS_SHARE, Choice, NewEntry, Size, Slow, weigh
from computer_use_cache.store.redis_copies import Copies
from computer_use_cache.store.redis_leases import RedisLeases
from computer_use_cache.store.redis_runs import RedisRuns
from computer_use_cache.store.redis_scripts import PREFIX, TABLES
from computer_use_cache.store.redis_servers import Servers

_PART = PREFIX + "part:"
_MISSES = PREFIX + "misses"
_COUNTERS = PREFIX + "counters"
_ORDER, _EXPIRY, _SIZES, _TOTALS, _TEMPLATES = "order", "expiry", "sizes", "totals", "templates"
"""The tables under each prefix: keys in the order in which they were stored (each storing has a number), keys by the
millisecond at which they expire, the bytes of each key, the sum of these bytes with the last number given, and the
template of each key that has one."""
_ENTRY, _REQUEST, _TEMPLATE = "entry:", "request:", "template:"

_PART_MILLISECONDS = 90 * 24 * 3600 * 1000
"""How long near misses can find an entry that never expires."""

_KEYS_PER_PIECE = 500
_ENTRIES_PER_PIECE = 20
"""An entry may take megabytes."""


def _change(client: Any, script: str, prefix: str, names: Iterable[str], *arguments: str | bytes | int) -> Any:
    """Run a script on entries. Sent in full, as a server that has taken over from another does not know it yet."""
    keys = [prefix + name for name in (_ORDER, _EXPIRY, _SIZES, _TOTALS, _TEMPLATES, *names)]
    return client.eval(TABLES + script, len(keys), *keys, prefix, *arguments)


class RedisStore:
    """The shared store. `size_limit` is in bytes of entries, which the servers hold in memory."""

    def __init__(self, url: str, password: str, size_limit: int) -> None:
        self._servers = Servers(url, password)
        self._size_limit = size_limit
        self.run_log = RedisRuns(self._servers, max(int(size_limit * RUNS_SHARE), LEAST_FOR_RUNS))
        self.leases = RedisLeases(self._servers)
        self._copies = Copies()

    def _entry(self, key: str) -> str:
        return self._servers.prefix(key) + _ENTRY + key

    # -- entries

    def get(self, key: str) -> Entry | None:
        if copy := self._copies.get(key):
            return copy
        with self._copies.reading(key) as read:
            data = self._from_replica(key) if self._servers.reads_replicas else None
            if data is None:
                with self._servers.at(self._entry(key)) as server:
                    data = server.get(self._entry(key))
            entry = codec.decode(data) if data is not None else None
            if entry is not None and entry.key == key:
                read.append(entry)
        return entry

    def _from_replica(self, key: str) -> bytes | None:
        """The entry as a replica has it; None if the primary has a newer one, or has none."""
        order = self._servers.prefix(key) + _ORDER
        with self._servers.at(order) as primary:
            newest = primary.zscore(order, key)
        if newest is None:
            return None
        with contextlib.suppress(StoreDown), self._servers.at_replica(order) as pipeline:
            pipeline.readonly()
            pipeline.zscore(order, key)  # asked first: the entry is then at least as new as the answer says
            pipeline.get(self._entry(key))
            _, number, data = pipeline.execute()
            return data if number is not None and number >= newest else None
        return None

    def get_quickly(self, key: str) -> Entry | Slow:
        return self._copies.get(key) or Slow.SLOW

    def put_all(self, batch: Sequence[NewEntry]) -> Set[str]:
        by_name = {self._entry(new.entry.key): new for new in batch}
        holders: dict[str, list[NewEntry]] = {}
        for new in by_name.values():
            for part in new.record.parts if new.record else ():
                holders.setdefault(f"{_PART}{part:x}", []).append(new)

        def put(pipeline: Any, name: str) -> None:
            if name in by_name:
                self._put(pipeline, name, by_name[name])
            else:
                self._add_holders(pipeline, name, holders[name])

        try:
            answers = self._servers.ask_each([*by_name, *holders], put, dispensable=holders.keys())
        finally:
            self._copies.drop(new.entry.key for new in batch)
        return {new.entry.key for name, new in by_name.items() if answers[name]}

    def _put(self, pipeline: Any, name: str, new: NewEntry) -> None:
        prefix, entry = self._servers.prefix(new.entry.key), new.entry
        names = [_ENTRY + entry.key, _REQUEST + entry.key]
        record = codec.encode_request(new.record) if new.record else b""
        arguments = [entry.key, codec.encode(entry), _milliseconds(new) or "", entry.template, record]
        _change(pipeline, redis_scripts.PUT, prefix, names, *arguments)

    @staticmethod
    def _add_holders(pipeline: Any, part: str, holders: Sequence[NewEntry]) -> None:
        longest = max(_milliseconds(new) or _PART_MILLISECONDS for new in holders)
        keys = [new.entry.key for new in holders]
        pipeline.eval(redis_scripts.ADD_HOLDERS, 1, part, base.NEWEST_OF_PART, longest, *keys)

    def with_template(self, template: str) -> list[str]:
        sets = [prefix + _TEMPLATE + template for prefix in self._servers.prefixes]
        newest = base.NEWEST_OF_TEMPLATE
        found = self._servers.ask_each(sets, lambda pipeline, name: pipeline.zrevrange(name, 0, newest - 1, True))
        keys = heapq.nlargest(newest, itertools.chain.from_iterable(found.values()), lambda item: item[1])
        return self._still_there(_ENTRY, [key.decode() for key, _ in keys])

    def _still_there(self, kind: str, keys: Sequence[str]) -> list[str]:
        """Those of the keys whose value has not expired."""
        names = {key: self._servers.prefix(key) + kind + key for key in keys}
        found = self._servers.ask_each(names.values(), lambda pipeline, name: pipeline.exists(name))
        return [key for key, name in names.items() if found[name]]

    def request(self, key: str) -> RequestRecord | None:
        name = self._servers.prefix(key) + _REQUEST + key
        with self._servers.at(name) as server:
            data = server.get(name)
        return codec.decode_request(data) if data is not None else None

    def put_request(self, key: str, record: RequestRecord) -> None:
        """Nothing: without its pictures the request could not be repeated."""

    def media(self, digest: str) -> None:
        """None: screenshots would take too much of the server's memory."""

    def near(self, parts: Sequence[int]) -> list[str]:
        names = [f"{_PART}{part:x}" for part in parts]
        found = self._servers.ask_each(names, lambda pipeline, name: pipeline.lrange(name, 0, -1))
        shared = weigh([[key.decode() for key in dict.fromkeys(keys)] for keys in found.values()])
        best = [key for key, _ in shared.most_common(base.NEWEST_OF_PART)]
        return self._still_there(_REQUEST, best)[: base.NEAR_CANDIDATES]

    def add_miss(self, data: bytes) -> None:
        with self._servers.at(_MISSES) as server, server.pipeline(transaction=False) as pipeline:
            pipeline.lpush(_MISSES, data)
            pipeline.ltrim(_MISSES, 0, base.KEPT_MISSES - 1)
            pipeline.execute()

    def misses(self) -> list[bytes]:
        with self._servers.at(_MISSES) as server:
            return list(server.lrange(_MISSES, 0, -1))

    def delete(self, key: str) -> bool:
        return self._delete_all([key], is_confirmed=True) == 1

    def _delete_all(self, keys: Iterable[str], *, is_confirmed: bool = False) -> int:
        by_prefix: dict[str, list[str]] = {}
        for key in keys:
            by_prefix.setdefault(self._servers.prefix(key), []).append(key)

        def delete(pipeline: Any, prefix: str) -> None:
            chosen = by_prefix[prefix]
            names = [kind + key for kind in (_ENTRY, _REQUEST) for key in chosen]
            _change(pipeline, redis_scripts.DELETE, prefix, names, *chosen)

        try:
            deleted = self._servers.ask_each(by_prefix, delete, is_confirmed=is_confirmed)
        finally:
            self._copies.drop(itertools.chain.from_iterable(by_prefix.values()))
        return sum(deleted.values())

    def entries(self) -> Iterator[Entry]:
        return itertools.chain.from_iterable(self._walk())

    def _walk(self) -> Iterator[list[Entry]]:
        newest_first = heapq.merge(*map(self._newest, self._servers.prefixes), reverse=True)
        for piece in itertools.batched(newest_first, _ENTRIES_PER_PIECE):
            names = [self._entry(key) for _, key in piece]
            found = self._servers.ask_each(names, lambda pipeline, name: pipeline.get(name))
            yield [entry for name in names if (data := found[name]) and (entry := codec.decode(data)) is not None]

    def _newest(self, prefix: str) -> Iterator[tuple[float, str]]:
        """The entries with that prefix as (number under which it was stored, key), newest first."""
        below, order = "+inf", prefix + _ORDER
        while True:
            with self._servers.at(order) as server:
                rows = server.zrevrangebyscore(order, below, "-inf", 0, _KEYS_PER_PIECE, withscores=True)
            if not rows:
                return
            yield from ((number, key.decode()) for key, number in rows)
            below = f"({rows[-1][1]:.0f}"

    def clear(self, chosen: Choice | None = None) -> int:
        if chosen is not None:
            deleted = sum(self._delete_all([entry.key for entry in piece if chosen(entry)]) for piece in self._walk())
        else:
            deleted = self._clear_all()
        self._write_probe(is_confirmed=True)  # a replica that has this last write has those before it
        return deleted

    def _clear_all(self) -> int:
        deleted = 0
        for prefix in self._servers.prefixes:
            while keys := self._oldest([prefix], _KEYS_PER_PIECE):
                deleted += self._delete_all(keys)
        with self._servers.at(_MISSES) as server:
            server.delete(_MISSES)
        self.run_log.clear()
        self._copies.clear()
        return deleted

    def _tables(self, table: str) -> list[str]:
        return [prefix + table for prefix in self._servers.prefixes]

    def _oldest(self, prefixes: Iterable[str], number: int) -> list[str]:
        orders = [prefix + _ORDER for prefix in prefixes]
        found = self._servers.ask_each(
            orders, lambda pipeline, name: pipeline.zrange(name, 0, number - 1, withscores=True)
        )
        oldest = heapq.nsmallest(number, itertools.chain.from_iterable(found.values()), lambda item: item[1])
        return [key.decode() for key, _ in oldest]

    def probe(self) -> None:
        self._write_probe(is_confirmed=False)

    def _write_probe(self, *, is_confirmed: bool) -> None:
        names = self._tables("probe")
        self._servers.ask_each(names, lambda pipeline, name: pipeline.set(name, 1, px=1), is_confirmed=is_confirmed)

    def size(self) -> Size:
        numbers = self._servers.ask_each(self._tables(_ORDER), lambda pipeline, name: pipeline.zcard(name))
        sizes = self._servers.ask_each(self._tables(_TOTALS), lambda pipeline, name: pipeline.hget(name, "bytes"))
        return Size(sum(numbers.values()), sum(int(size or 0) for size in sizes.values()))

    def maintain(self) -> None:
        def forget(pipeline: Any, prefix: str) -> None:
            _change(pipeline, redis_scripts.FORGET_EXPIRED, prefix, (), _KEYS_PER_PIECE)

        prefixes = list(self._servers.prefixes)
        while prefixes:
            forgotten = self._servers.ask_each(prefixes, forget)
            prefixes = [prefix for prefix, number in forgotten.items() if number == _KEYS_PER_PIECE]
        while self.size().bytes > self._size_limit and (
            keys := self._oldest(self._servers.prefixes, _ENTRIES_PER_PIECE)
        ):
            self._delete_all(keys)
        self.run_log.maintain()

    # -- counters

    def add_counts(self, counts: Mapping[str, float], latest: Mapping[str, float]) -> None:
        # Adding 0.0 refuses what is not a number before the server changes anything.
        pairs = [(name, repr(value + 0.0)) for name, value in (*counts.items(), *latest.items())]
        with self._servers.at(_COUNTERS) as server:
            server.eval(redis_scripts.COUNT, 1, _COUNTERS, len(counts), *itertools.chain.from_iterable(pairs))

    def counts(self) -> dict[str, float]:
        with self._servers.at(_COUNTERS) as server:
            return {name.decode(): float(value) for name, value in server.hgetall(_COUNTERS).items()}

    def forget_counts(self, names: Iterable[str]) -> None:
        with self._servers.at(_COUNTERS) as server:
            server.hdel(_COUNTERS, *names)

    def interrupt(self) -> None:
        self._servers.interrupt()

    def close(self) -> None:
        self._servers.close()


def _milliseconds(new: NewEntry) -> int | None:
    return None if new.keep_seconds is None else max(int(new.keep_seconds * 1000), 1)
