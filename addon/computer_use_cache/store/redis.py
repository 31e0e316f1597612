"""Entries on a Redis or Valkey server, shared by all who name it.

The server expires them. Every key of ours begins with one prefix, and every change of an entry and of the tables about
it is one script, so that proxies may die at any point. No call waits long: a server that fails is left alone for a
while, and what is asked meanwhile fails at once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from computer_use_cache.errors import StoreDown, StoreError
from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.store import codec
from computer_use_cache.store.base import (
    KEPT_MISSES,
    LEASE_SECONDS,
    NEAR_CANDIDATES,
    NEWEST_OF_PART,
    Choice,
    Size,
    weigh,
)
from computer_use_cache.store.hot import HotEntries

logger = logging.getLogger(__name__)

_PREFIX = "computer-use-cache:1:"
_ENTRY = _PREFIX + "entry:"
_REQUEST = _PREFIX + "request:"
_PART = _PREFIX + "part:"
_MISSES = _PREFIX + "misses"
_LEASE = _PREFIX + "lease:"
_COUNTERS = _PREFIX + "counters"
_TABLES = [_PREFIX + name for name in ("order", "expiry", "sizes", "totals")]
"""Sorted sets of keys by the number of their storing and by the millisecond they expire at; each key's bytes; and the
sum of these bytes, with the last number given."""

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_REST_SECONDS = 3.0
"""How long a server that failed is left alone."""
_LEASE_MILLISECONDS = LEASE_SECONDS * 1000
_PART_MILLISECONDS = 90 * 24 * 3600 * 1000
"""How long an entry that never expires is found by what it shares with others."""

_KEYS_PER_PIECE = 500
_ENTRIES_PER_PIECE = 20
"""An entry may take megabytes."""

_SCRIPT = """
local order, expiry, sizes, totals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function forget(key)
    redis.call('HINCRBY', totals, 'bytes', -(redis.call('HGET', sizes, key) or 0))
    redis.call('HDEL', sizes, key)
    redis.call('ZREM', order, key)
    redis.call('ZREM', expiry, key)
end
"""
_PUT = """
local entry, key, data, milliseconds = KEYS[5], ARGV[1], ARGV[2], ARGV[3]
local replaced = redis.call('EXISTS', entry)
forget(key)
redis.call('SET', entry, data)
if milliseconds ~= '' then
    redis.call('PEXPIRE', entry, milliseconds)
    redis.call('ZADD', expiry, now() + milliseconds, key)
end
redis.call('ZADD', order, redis.call('HINCRBY', totals, 'puts', 1), key)
redis.call('HSET', sizes, key, #data)
redis.call('HINCRBY', totals, 'bytes', #data)
return replaced
"""
_DELETE = """
local deleted = 0
for number, key in ipairs(ARGV) do
    deleted = deleted + redis.call('DEL', KEYS[4 + number])
    redis.call('DEL', KEYS[4 + #ARGV + number])
    forget(key)
end
return deleted
"""
_FORGET_EXPIRED = """
local keys = redis.call('ZRANGEBYSCORE', expiry, '-inf', now(), 'LIMIT', 0, ARGV[1])
for _, key in ipairs(keys) do forget(key) end
return #keys
"""
_COUNT = """
local number_of_counts = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
    local name, value = ARGV[i], ARGV[i + 1]
    if i <= 2 * number_of_counts then
        redis.call('HINCRBYFLOAT', KEYS[1], name, value)
    elseif tonumber(value) > tonumber(redis.call('HGET', KEYS[1], name) or '-inf') then
        redis.call('HSET', KEYS[1], name, value)
    end
end
"""
_TAKE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_RENEW_LEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end"
_RELEASE_LEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class RedisStore:
    """The shared store; also its own Leases. `size_limit` is in bytes of entries, which the server holds in memory."""

    is_quick = False

    def __init__(self, url: str, password: str, size_limit: int) -> None:
        """Connects when it is first asked, so that a server that is down stops no start."""
        self._url = url
        self._size_limit = size_limit
        self._client: Any = redis.Redis.from_url(
            url,
            password=password or None,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # by default it tries for many seconds
            protocol=2,
        )
        self._put = self._client.register_script(_SCRIPT + _PUT)
        self._delete = self._client.register_script(_SCRIPT + _DELETE)
        self._forget_expired = self._client.register_script(_SCRIPT + _FORGET_EXPIRED)
        self._count = self._client.register_script(_COUNT)
        self._take_lease = self._client.register_script(_TAKE_LEASE)
        self._renew_lease = self._client.register_script(_RENEW_LEASE)
        self._release_lease = self._client.register_script(_RELEASE_LEASE)
        self._hot = HotEntries()
        self._lock = threading.Lock()
        self._down_until: float | None = None

    @property
    def leases(self) -> RedisStore:
        return self

    # -- entries

    def get(self, key: str) -> Entry | None:
        if (copy := self._hot.get(key)) is not None:
            return copy
        with self._failures():
            data = self._client.get(_ENTRY + key)
        entry = codec.decode(data) if data is not None else None
        if entry is not None and entry.key == key:
            self._hot.add(entry)
        return entry

    def put(self, entry: Entry, keep_seconds: float | None, record: RequestRecord | None = None) -> bool:
        data = codec.encode(entry)
        milliseconds = "" if keep_seconds is None else max(int(keep_seconds * 1000), 1)
        with self._failures():
            replaced = self._put([*_TABLES, _ENTRY + entry.key], [entry.key, data, milliseconds])
            if record:
                self._put_request(entry.key, record, int(milliseconds) if milliseconds else None)
        self._hot.drop(entry.key)
        return bool(replaced)

    def _put_request(self, key: str, record: RequestRecord, milliseconds: int | None) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.set(_REQUEST + key, codec.encode_request(record), px=milliseconds)
            for part in record.parts:
                name = f"{_PART}{part:x}"
                pipeline.lpush(name, key)
                pipeline.ltrim(name, 0, NEWEST_OF_PART - 1)
                pipeline.pexpire(name, milliseconds or _PART_MILLISECONDS)
            pipeline.execute()

    def request(self, key: str) -> RequestRecord | None:
        with self._failures():
            data = self._client.get(_REQUEST + key)
        return codec.decode_request(data) if data is not None else None

    def media(self, digest: str) -> None:
        """The server's memory is not for pictures."""

    def near(self, parts: Sequence[int]) -> list[str]:
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            for part in parts:
                pipeline.lrange(f"{_PART}{part:x}", 0, -1)
            shared = weigh([[key.decode() for key in dict.fromkeys(keys)] for keys in pipeline.execute()])
            best = [key for key, _ in shared.most_common(NEWEST_OF_PART)]
            for key in best:
                pipeline.exists(_REQUEST + key)
            return [key for key, is_there in zip(best, pipeline.execute(), strict=True) if is_there][:NEAR_CANDIDATES]

    def add_miss(self, data: bytes) -> None:
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.lpush(_MISSES, data)
            pipeline.ltrim(_MISSES, 0, KEPT_MISSES - 1)
            pipeline.execute()

    def misses(self) -> list[bytes]:
        with self._failures():
            return list(self._client.lrange(_MISSES, 0, -1))

    def delete(self, key: str) -> bool:
        return self._delete_all([key]) == 1

    def _delete_all(self, keys: list[str]) -> int:
        with self._failures():
            deleted: int = self._delete(
                [*_TABLES, *(_ENTRY + key for key in keys), *(_REQUEST + key for key in keys)], keys
            )
        for key in keys:
            self._hot.drop(key)
        return deleted

    def entries(self) -> Iterator[Entry]:
        below = "+inf"
        while True:
            with self._failures():
                rows = self._client.zrevrangebyscore(_TABLES[0], below, "-inf", 0, _ENTRIES_PER_PIECE, withscores=True)
                values = self._client.mget([_ENTRY + key.decode() for key, _ in rows]) if rows else []
            if not rows:
                return
            yield from (entry for data in values if data and (entry := codec.decode(data)) is not None)
            below = f"({rows[-1][1]:.0f}"

    def clear(self, chosen: Choice | None = None) -> int:
        if chosen is not None:
            return sum(self.delete(entry.key) for entry in self.entries() if chosen(entry))
        deleted = 0
        while keys := self._oldest(_KEYS_PER_PIECE):
            deleted += self._delete_all(keys)
        with self._failures():
            self._client.delete(_MISSES)
        self._hot.clear()
        return deleted

    def _oldest(self, number: int) -> list[str]:
        with self._failures():
            return [key.decode() for key in self._client.zrange(_TABLES[0], 0, number - 1)]

    def probe(self) -> None:
        with self._failures():
            self._client.set(_PREFIX + "probe", 1, px=1)

    def size(self) -> Size:
        with self._failures():
            return Size(self._client.zcard(_TABLES[0]), int(self._client.hget(_TABLES[3], "bytes") or 0))

    def maintain(self) -> None:
        with self._failures():
            while self._forget_expired(_TABLES, [_KEYS_PER_PIECE]) == _KEYS_PER_PIECE:
                pass
        while self.size().bytes > self._size_limit and (keys := self._oldest(_ENTRIES_PER_PIECE)):
            self._delete_all(keys)

    # -- counters

    def add_counts(self, counts: Mapping[str, float], latest: Mapping[str, float]) -> None:
        # Adding refuses what is no number before the server changes anything.
        pairs = [(name, repr(value + 0.0)) for name, value in (*counts.items(), *latest.items())]
        with self._failures():
            self._count([_COUNTERS], [len(counts), *chain.from_iterable(pairs)])

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
        if is_trial:  # an answer to what was asked before it went down says nothing
            with self._lock:
                self._down_until = None
            logger.info("the store at %s answers again", self._url)

    def _is_trial(self) -> bool:
        """Whether the caller tries a server that was down; the others go on resting: raises StoreDown meanwhile."""
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
