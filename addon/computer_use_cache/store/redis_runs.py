"""Runs and their calls on a Redis server. Each run is a hash, and its calls are a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from computer_use_cache.run_models import Call, Run
from computer_use_cache.store import codec
from computer_use_cache.store.base import CALLS_OF_RUN, KEPT_RUNS
from computer_use_cache.store.redis_scripts import PREFIX
from computer_use_cache.store.run_log import read_run

_ORDER = PREFIX + "runs"
"""A sorted set of ids by the time at which the runs began."""
_LABELS = PREFIX + "run-labels"
"""The id of the newest run of each label."""
_RUN = PREFIX + "run:"
_CALLS = PREFIX + "calls:"

_JOIN = f"""
local label, since, begins, id, began, data = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local found = redis.call('HGET', KEYS[2], label)
if found then
    local run = redis.call('HMGET', '{_RUN}' .. found, 'active', 'continued')
    if not run[1] or tonumber(run[1]) < since or (begins == '1' and run[2]) then found = false end
end
if not found then
    found = id
    redis.call('ZADD', KEYS[1], began, id)
    redis.call('HSET', '{_RUN}' .. id, 'data', data, 'active', began, 'label', label)
    redis.call('HSET', KEYS[2], label, id)
end
if begins ~= '1' then redis.call('HSET', '{_RUN}' .. found, 'continued', '1') end
return found
"""
_ADD_CALLS = """
local number, active, data = ARGV[1], ARGV[2], ARGV[3]
local before = redis.call('HGET', KEYS[1], 'active')
if not before then return 0 end
redis.call('RPUSH', KEYS[2], data)
redis.call('HINCRBY', KEYS[1], 'bytes', #data)
if tonumber(active) > tonumber(before) then redis.call('HSET', KEYS[1], 'active', active) end
return redis.call('HINCRBY', KEYS[1], 'calls', number)
"""
_DELETE = f"""
local label = redis.call('HGET', '{_RUN}' .. ARGV[1], 'label')
if label and redis.call('HGET', KEYS[2], label) == ARGV[1] then redis.call('HDEL', KEYS[2], label) end
redis.call('DEL', '{_RUN}' .. ARGV[1], '{_CALLS}' .. ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
"""


class RedisRuns:
    """The methods are those of `RunLog`. `size_limit` is in bytes; `failures` turns the server's into StoreErrors."""

    def __init__(self, client: Any, failures: Callable[[], AbstractContextManager[None]], size_limit: int) -> None:
        self._client = client
        self._failures = failures
        self._size_limit = size_limit
        self._join = client.register_script(_JOIN)
        self._add_calls = client.register_script(_ADD_CALLS)
        self._delete = client.register_script(_DELETE)

    def add_run(self, run: Run) -> None:
        with self._failures(), self._client.pipeline(transaction=True) as pipeline:
            pipeline.zadd(_ORDER, {run.id: run.began})
            pipeline.hset(_RUN + run.id, "data", codec.encode_run(run))
            pipeline.hsetnx(_RUN + run.id, "active", repr(run.began))
            pipeline.execute()
        self.maintain()

    def join_run(self, run: Run, label: str, since: float, *, begins: bool = False) -> str:
        arguments = [label, repr(since), int(begins), run.id, repr(run.began), codec.encode_run(run)]
        with self._failures():
            id: str = self._join([_ORDER, _LABELS], arguments).decode()
        if id == run.id:
            self.maintain()
        return id

    def add_calls(self, id: str, calls: Sequence[Call]) -> range:
        with self._failures():
            room = CALLS_OF_RUN - int(self._client.hget(_RUN + id, "calls") or 0)
            kept = calls[: max(room, 0)]
            active = max((call.at + call.seconds for call in kept), default=0.0)
            arguments = [len(kept), repr(active), codec.encode_calls(kept)]
            last = int(self._add_calls([_RUN + id, _CALLS + id], arguments)) if kept else 0
        return range(last + 1 - len(kept), last + 1) if last else range(0)

    def runs(self, limit: int) -> list[Run]:
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            for id in self._client.zrevrange(_ORDER, 0, limit - 1):
                pipeline.hmget(_RUN + id.decode(), "data", "active")
            rows = pipeline.execute()
        return [run for data, active in rows if data and (run := read_run(data, float(active)))]

    def run(self, id: str) -> Run | None:
        with self._failures():
            data, active = self._client.hmget(_RUN + id, "data", "active")
        return read_run(data, float(active)) if data else None

    def calls(self, id: str) -> list[Call]:
        with self._failures():
            stored = self._client.lrange(_CALLS + id, 0, -1)
        return [call for data in stored for call in codec.decode_calls(data)]

    def delete_run(self, id: str) -> bool:
        with self._failures():
            return bool(self._delete([_ORDER, _LABELS], [id]))

    def clear(self) -> int:
        deleted = 0
        while ids := self._oldest(KEPT_RUNS):
            deleted += sum(map(self.delete_run, ids))
        return deleted

    def maintain(self) -> None:
        with self._failures():
            surplus = self._client.zcard(_ORDER) - KEPT_RUNS
        for id in self._oldest(surplus) if surplus > 0 else ():
            self.delete_run(id)
        sizes = self._sizes()
        size = sum(sizes.values())
        for id, freed in sizes.items():
            if size <= self._size_limit:
                return
            self.delete_run(id)
            size -= freed

    def _oldest(self, number: int) -> list[str]:
        with self._failures():
            return [id.decode() for id in self._client.zrange(_ORDER, 0, number - 1)]

    def _sizes(self) -> dict[str, int]:
        """The bytes that the calls of each run take, the oldest run first."""
        ids = self._oldest(KEPT_RUNS)
        with self._failures(), self._client.pipeline(transaction=False) as pipeline:
            for id in ids:
                pipeline.hget(_RUN + id, "bytes")
            return {id: int(size or 0) for id, size in zip(ids, pipeline.execute(), strict=True)}
