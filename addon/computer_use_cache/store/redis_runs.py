"""Runs and their calls on a Redis server. Each run is a hash, and its calls are a list.

A cluster keeps all runs on one server, because one script may change several. They take at most `RUNS_SHARE` of the
space.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from computer_use_cache.errors import StoreError
from computer_use_cache.run_models import Call, Run
from computer_use_cache.store import codec
from computer_use_cache.store.base import CALLS_OF_RUN, KEPT_RUNS
from computer_use_cache.store.redis_servers import Servers
from computer_use_cache.store.run_log import read_run

_JOIN = """
local run_prefix = table.remove(ARGV, 1)
local label, since, begins, id, began, data = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local found = redis.call('HGET', KEYS[2], label)
if found then
    local run = redis.call('HMGET', run_prefix .. found, 'active', 'continued')
    if not run[1] or tonumber(run[1]) < since or (begins == '1' and run[2]) then found = false end
end
if not found then
    found = id
    redis.call('ZADD', KEYS[1], began, id)
    redis.call('HSET', run_prefix .. id, 'data', data, 'active', began, 'label', label)
    redis.call('HSET', KEYS[2], label, id)
end
if begins ~= '1' then redis.call('HSET', run_prefix .. found, 'continued', '1') end
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
_DELETE = """
local label = redis.call('HGET', KEYS[3], 'label')
if label and redis.call('HGET', KEYS[2], label) == ARGV[1] then redis.call('HDEL', KEYS[2], label) end
redis.call('DEL', KEYS[3], KEYS[4])
return redis.call('ZREM', KEYS[1], ARGV[1])
"""


class RedisRuns:
    """The methods are those of `RunLog`. `size_limit` is in bytes."""

    def __init__(self, servers: Servers, size_limit: int) -> None:
        self._servers = servers
        self._size_limit = size_limit
        prefix = servers.prefix_of_runs
        self._order = prefix + "runs"
        """A sorted set of ids by the time at which the runs began."""
        self._labels = prefix + "run-labels"
        """The id of the newest run of each label."""
        self._run = prefix + "run:"
        self._calls = prefix + "calls:"

    def _server(self) -> AbstractContextManager[Any]:
        return self._servers.at(self._order)

    def add_run(self, run: Run) -> None:
        with self._server() as server, server.pipeline(transaction=True) as pipeline:
            pipeline.zadd(self._order, {run.id: run.began})
            pipeline.hset(self._run + run.id, "data", codec.encode_run(run))
            pipeline.hsetnx(self._run + run.id, "active", repr(run.began))
            pipeline.execute()
        self.maintain()

    def join_run(self, run: Run, label: str, since: float, *, begins: bool = False) -> str:
        arguments = [self._run, label, repr(since), int(begins), run.id, repr(run.began), codec.encode_run(run)]
        with self._server() as server:
            id: str = server.eval(_JOIN, 2, self._order, self._labels, *arguments).decode()
        return id

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        yield
        with contextlib.suppress(StoreError):  # the calls are stored, and the next flush makes room too
            self.maintain()

    def add_calls(self, id: str, calls: Sequence[Call]) -> range:
        with self._server() as server:
            room = CALLS_OF_RUN - int(server.hget(self._run + id, "calls") or 0)
            kept = calls[: max(room, 0)]
            active = max((call.at + call.seconds for call in kept), default=0.0)
            arguments = [len(kept), repr(active), codec.encode_calls(kept)]
            names = [self._run + id, self._calls + id]
            last = int(server.eval(_ADD_CALLS, 2, *names, *arguments)) if kept else 0
        return range(last + 1 - len(kept), last + 1) if last else range(0)

    def runs(self, limit: int) -> list[Run]:
        with self._server() as server, server.pipeline(transaction=False) as pipeline:
            for id in server.zrevrange(self._order, 0, limit - 1):
                pipeline.hmget(self._run + id.decode(), "data", "active")
            rows = pipeline.execute()
        return [run for data, active in rows if data and (run := read_run(data, float(active)))]

    def run(self, id: str) -> Run | None:
        with self._server() as server:
            data, active = server.hmget(self._run + id, "data", "active")
        return read_run(data, float(active)) if data else None

    def calls(self, id: str) -> list[Call]:
        with self._server() as server:
            stored = server.lrange(self._calls + id, 0, -1)
        return [call for data in stored for call in codec.decode_calls(data)]

    def delete_run(self, id: str) -> bool:
        with self._server() as server:
            names = [self._order, self._labels, self._run + id, self._calls + id]
            return bool(server.eval(_DELETE, 4, *names, id))

    def clear(self) -> int:
        deleted = 0
        while ids := self._oldest(KEPT_RUNS):
            deleted += sum(map(self.delete_run, ids))
        return deleted

    def maintain(self) -> None:
        with self._server() as server:
            surplus = server.zcard(self._order) - KEPT_RUNS
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
        with self._server() as server:
            return [id.decode() for id in server.zrange(self._order, 0, number - 1)]

    def _sizes(self) -> dict[str, int]:
        """The bytes that the calls of each run take, the oldest run first."""
        ids = self._oldest(KEPT_RUNS)
        with self._server() as server, server.pipeline(transaction=False) as pipeline:
            for id in ids:
                pipeline.hget(self._run + id, "bytes")
            return {id: int(size or 0) for id, size in zip(ids, pipeline.execute(), strict=True)}
