"""Entries on a Redis or Valkey server, shared by every proxy that names it in CACHE_STORE_URL.

The server expires them. Each change of an entry and of the tables about it is one script (redis_scripts.py). No call
waits long: a server that fails is left alone for a while, during which calls fail at once.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from computer_use_cache.errors import StoreDown, StoreError
from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.store import base, codec, redis_scripts
from computer_use_cache.store.base import LEAST_FOR_RUNS, RUNS_SHARE, Choice, NewEntry, Size, Slow, weigh
from computer_use_cache.store.memory import BoundedMemory
from computer_use_cache.store.redis_runs import RedisRuns
from computer_use_cache.store.redis_scripts import PREFIX, TABLES, TEMPLATE

logger = logging.getLogger(__name__)

_ENTRY = PREFIX + "entry:"
_REQUEST = PREFIX + "request:"
_PART = PREFIX + "part:"
_MISSES = PREFIX + "misses"
_LEASE = PREFIX + "lease:"
_COUNTERS = PREFIX + "counters"
_TABLES = [PREFIX + name for name in ("order", "expiry", "sizes", "totals", "templates")]
"""Sorted sets of keys, by the number of their storing and by the millisecond at which they expire; the bytes of each
key; the sum of these bytes, with the last number given; and the template of each key that has one."""

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_REST_SECONDS = 3.0
"""How long a server that failed is left alone."""
_LEASE_MILLISECONDS = base.LEASE_SECONDS * 1000
_PART_MILLISECONDS = 90 * 24 * 3600 * 1000
"""How long near misses can find an entry that never expires."""
_COPY_SECONDS = 1.0
"""How long a copy in memory may hide another proxy's clear, delete or replacement: short for a person who clears the
cache, but long enough for agents that take the same step together."""
_COPIES_BYTES = 32 * 1024 * 1024

_KEYS_PER_PIECE = 500
_ENTRIES_PER_PIECE = 20
"""An entry may take megabytes."""


class RedisStore:
    """The shared store; also its own Leases. `size_limit` is in bytes of entries, which the server holds in memory."""

    def __init__(self, url: str, password: str, size_limit: int) -> None:
        """Connects at the first call, so that the proxy starts even if the server is down."""
        self._url = url
        self._size_limit = size_limit
        self._client: Any = redis.Redis.from_url(
            url,
            password=password or None,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the default keeps trying for many seconds
            protocol=2,
        )
        self._put = self._client.register_script(TABLES + redis_scripts.PUT)
        self._delete = self._client.register_script(TABLES + redis_scripts.DELETE)
        self._forget_expired = self._client.register_script(TABLES + redis_scripts.FORGET_EXPIRED)
        self._count = self._client.register_script(redis_scripts.COUNT)
        self._take_lease = self._client.register_script(redis_scripts.TAKE_LEASE)
        self._renew_lease = self._client.register_script(redis_scripts.RENEW_LEASE)
        self._release_lease = self._client.register_script(redis_scripts.RELEASE_LEASE)
        self.run_log = RedisRuns(self._client, self._failures, max(int(size_limit * RUNS_SHARE), LEAST_FOR_RUNS))
        self._copies = BoundedMemory[str, Entry](_COPIES_BYTES, lambda entry: len(entry.body))
        self._lock = threading.Lock()
        self._down_until: float | None = None

    @property
    def leases(self) -> RedisStore:
        return self

    # -- entries

    def get(self, key: str) -> Entry | None:
        if copy := self._copies.get(key, time.monotonic()):
            return copy
        with self._failures():
            data = self._client.get(_ENTRY + key)
        entry = codec.decode(data) if data is not None else None
        if entry is not None and entry.key == key:
            self._copies.put(key, entry, time.monotonic() + _COPY_SECONDS)
        return entry

    def get_quickly(self, key: str) -> Entry | Slow:
        return self._copies.get(key, time.monotonic()) or Slow.SLOW

    def put(self, entry: Entry, keep_seconds: float | None, record: RequestRecord | None = None) -> bool:
        return bool(self._store([NewEntry(entry, keep_seconds, record)])[0])

    def put_all(self, batch: Sequence[NewEntry]) -> None:
        self._store(batch)

    def _store(self, batch: Sequence[NewEntry]) -> list[Any]:
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            for new in batch:
                self._queue(pipeline, new)
            results: list[Any] = pipeline.execute()
        for new in batch:
            self._copies.drop(new.entry.key)
        return results

    def _queue(self, pipeline: Any, new: NewEntry) -> None:
        """Add the commands that store an entry to a pipeline; the first result is whether it replaced another."""
        key, data = new.entry.key, codec.encode(new.entry)
        milliseconds = None if new.keep_seconds is None else max(int(new.keep_seconds * 1000), 1)
        arguments = [key, data, "" if milliseconds is None else milliseconds, new.entry.template]
        self._put([*_TABLES, _ENTRY + key], arguments, client=pipeline)
        if new.record is None:
            return
        pipeline.set(_REQUEST + key, codec.encode_request(new.record), px=milliseconds)
        for part in new.record.parts:
            name = f"{_PART}{part:x}"
            pipeline.lpush(name, key)
            pipeline.ltrim(name, 0, base.NEWEST_OF_PART - 1)
            pipeline.pexpire(name, milliseconds or _PART_MILLISECONDS)

    def with_template(self, template: str) -> list[str]:
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.zrevrange(TEMPLATE + template, 0, base.NEWEST_OF_TEMPLATE - 1)
            keys = [key.decode() for key in pipeline.execute()[0]]
            return self._still_there(pipeline, _ENTRY, keys)

    @staticmethod
    def _still_there(pipeline: Any, prefix: str, keys: Sequence[str]) -> list[str]:
        """Those of the keys whose value has not expired."""
        for key in keys:
            pipeline.exists(prefix + key)
        return [key for key, is_there in zip(keys, pipeline.execute(), strict=True) if is_there]

    def request(self, key: str) -> RequestRecord | None:
        with self._failures():
            data = self._client.get(_REQUEST + key)
        return codec.decode_request(data) if data is not None else None

    def put_request(self, key: str, record: RequestRecord) -> None:
        """Nothing: without its pictures the request could not be repeated."""

    def media(self, digest: str) -> None:
        """None: screenshots would take too much of the server's memory."""

    def near(self, parts: Sequence[int]) -> list[str]:
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            for part in parts:
                pipeline.lrange(f"{_PART}{part:x}", 0, -1)
            shared = weigh([[key.decode() for key in dict.fromkeys(keys)] for keys in pipeline.execute()])
            best = [key for key, _ in shared.most_common(base.NEWEST_OF_PART)]
            return self._still_there(pipeline, _REQUEST, best)[: base.NEAR_CANDIDATES]

    def add_miss(self, data: bytes) -> None:
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.lpush(_MISSES, data)
            pipeline.ltrim(_MISSES, 0, base.KEPT_MISSES - 1)
            pipeline.execute()

    def misses(self) -> list[bytes]:
        with self._failures():
            return list(self._client.lrange(_MISSES, 0, -1))

    def delete(self, key: str) -> bool:
        return self._delete_all([key]) == 1

    def _delete_all(self, keys: list[str]) -> int:
        with self._failures():
            names = (prefix + key for prefix in (_ENTRY, _REQUEST) for key in keys)
            deleted: int = self._delete([*_TABLES, *names], keys)
        for key in keys:
            self._copies.drop(key)
        return deleted

    def entries(self) -> Iterator[Entry]:
        return itertools.chain.from_iterable(self._walk())

    def _walk(self) -> Iterator[list[Entry]]:
        below = "+inf"
        while True:
            with self._failures():
                rows = self._client.zrevrangebyscore(_TABLES[0], below, "-inf", 0, _ENTRIES_PER_PIECE, withscores=True)
                values = self._client.mget([_ENTRY + key.decode() for key, _ in rows]) if rows else []
            if not rows:
                return
            yield [entry for data in values if data and (entry := codec.decode(data)) is not None]
            below = f"({rows[-1][1]:.0f}"

    def clear(self, chosen: Choice | None = None) -> int:
        deleted = 0
        if chosen is not None:
            for entries in self._walk():
                deleted += self._delete_all([entry.key for entry in entries if chosen(entry)])
            return deleted
        while keys := self._oldest(_KEYS_PER_PIECE):
            deleted += self._delete_all(keys)
        with self._failures():
            self._client.delete(_MISSES)
        self.run_log.clear()
        self._copies.clear()
        return deleted

    def _oldest(self, number: int) -> list[str]:
        with self._failures():
            return [key.decode() for key in self._client.zrange(_TABLES[0], 0, number - 1)]

    def probe(self) -> None:
        with self._failures():
            self._client.set(PREFIX + "probe", 1, px=1)

    def size(self) -> Size:
        with self._failures():
            return Size(self._client.zcard(_TABLES[0]), int(self._client.hget(_TABLES[3], "bytes") or 0))

    def maintain(self) -> None:
        with self._failures():
            while self._forget_expired(_TABLES, [_KEYS_PER_PIECE]) == _KEYS_PER_PIECE:
                pass
        while self.size().bytes > self._size_limit and (keys := self._oldest(_ENTRIES_PER_PIECE)):
            self._delete_all(keys)
        self.run_log.maintain()

    # -- counters

    def add_counts(self, counts: Mapping[str, float], latest: Mapping[str, float]) -> None:
        # Adding 0.0 refuses what is not a number before the server changes anything.
        pairs = [(name, repr(value + 0.0)) for name, value in (*counts.items(), *latest.items())]
        with self._failures():
            self._count([_COUNTERS], [len(counts), *itertools.chain.from_iterable(pairs)])

    def counts(self) -> dict[str, float]:
        with self._failures():
            return {name.decode(): float(value) for name, value in self._client.hgetall(_COUNTERS).items()}

    def forget_counts(self, names: Iterable[str]) -> None:
        with self._failures():
            self._client.hdel(_COUNTERS, *names)

    # -- leases

    def take(self, key: str, owner: str) -> str:
        with self._failures():
            holder: bytes = self._take_lease([_LEASE + key], [owner, _LEASE_MILLISECONDS])
        return holder.decode()

    def renew(self, key: str, owner: str) -> None:
        with self._failures():
            self._renew_lease([_LEASE + key], [owner, _LEASE_MILLISECONDS])

    def release(self, key: str, owner: str) -> None:
        with self._failures():
            self._release_lease([_LEASE + key], [owner])

    def close(self) -> None:
        self._client.close()

    # -- a server that fails

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        is_trial = self._is_trial()
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self._down(error) from error
        except redis.RedisError as error:
            raise StoreError(f"the store at {self._url} refused: {error}; check the server's settings") from error
        if is_trial:  # an answer to a call made before the failure proves nothing
            with self._lock:
                self._down_until = None
            logger.info("the store at %s answers again", self._url)

    def _is_trial(self) -> bool:
        """True for the one caller who may try a server that was down; for all others this raises StoreDown."""
        with self._lock:
            if self._down_until is None:
                return False
            if time.monotonic() < self._down_until:
                raise StoreDown(f"the store at {self._url} did not answer a moment ago")
            self._down_until = time.monotonic() + _REST_SECONDS
            return True

    def _down(self, error: Exception) -> StoreDown:
        with self._lock:
            is_first = self._down_until is None
            self._down_until = time.monotonic() + _REST_SECONDS
        why = f"the store at {self._url} does not answer: {error}; check it, CACHE_STORE_URL and CACHE_STORE_PASSWORD"
        if is_first:
            logger.warning("%s; until it does, requests go upstream", why)
        return StoreDown(why)
