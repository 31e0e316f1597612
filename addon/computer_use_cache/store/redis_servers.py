"""The servers of a shared store: one, or a cluster whose primaries share the keys. Asks the server that has a name, and
turns its failures into StoreErrors. A call that finds the map of a cluster outdated fails, as a miss, and has the map
read again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any
from urllib.parse import unquote

import redis
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    RedisClusterException,
    SlotNotCoveredError,
    TryAgainError,
)

from computer_use_cache.errors import StoreClosed, StoreDown, StoreError
from computer_use_cache.store.redis_map import UNKNOWN, Server, map_of, shard_of
from computer_use_cache.store.redis_outages import Outages
from computer_use_cache.store_url import StoreUrl

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_CONFIRM_MILLISECONDS = 500
"""How long a delete waits for the replicas."""

_DOWN = (
    *(redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError),
    *(ClusterDownError, MasterDownError, RedisClusterException),
)
"""Errors of a server that cannot be used. One is read-only if it is no longer the primary."""
_MOVED = (redis.exceptions.AskError, TryAgainError)
"""What a server answers about a key that it no longer has, or does not have yet. MovedError is an AskError."""


class Servers:
    """The servers at an address. All names that begin with one of `prefixes` are on one server, and so is everything
    about an entry, as its names share a prefix. The names of runs are on one server too."""

    def __init__(self, url: str, password: str) -> None:
        """Connects at the first call, so that the proxy starts even if the servers are down."""
        self.url = url
        parsed = StoreUrl.parse(url)
        options = {
            "username": unquote(parsed.user) if parsed.user else None,
            "password": password or None,
            "ssl": parsed.is_encrypted,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_timeout": _ANSWER_SECONDS,
            "protocol": 2,
        }
        self._map = map_of(parsed, options)
        self._is_interrupted = False
        self.prefixes = self._map.prefixes
        self.prefix_of_runs = self._map.prefix_of_runs
        self.reads_replicas = parsed.reads_replicas
        place = f"the store at {url}"
        self._outages = Outages(place, "requests go upstream", self._map.all_primaries)
        self._gaps = Outages(f"a part of {place}", "its requests go upstream", lambda: (UNKNOWN.name,))
        self._replica_outages = Outages(f"a replica of {place}", "primaries are read", self._map.all_replicas)

    def prefix(self, key: str) -> str:
        """The prefix of the names that have to do with an entry."""
        return self.prefixes[shard_of(key)] if len(self.prefixes) > 1 else self.prefixes[0]

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[Any]:
        """The client of the server that has `name`. The block fails with StoreErrors."""
        if self._is_interrupted:
            raise StoreClosed
        server = self._find(name)
        with self._failures(self._outages, server):
            yield server.client

    @contextlib.contextmanager
    def at_replica(self, name: str) -> Iterator[Any]:
        """A pipeline to a replica of that server, whose value of `name` may be out of date."""
        with self._failures(self._replica_outages, UNKNOWN):
            server = self._map.replica(name)
        with self._failures(self._replica_outages, server), server.client.pipeline(transaction=False) as pipeline:
            yield pipeline

    def ask_each(
        self,
        names: Iterable[str],
        command: Callable[[Any, str], object],
        *,
        is_confirmed: bool = False,
        dispensable: Set[str] = frozenset(),
    ) -> dict[str, Any]:
        """The answer to one command about each name, with one round trip to each server.

        If `is_confirmed`, it returns once the replicas have the change too, so that a failover does not undo it. A
        server that is down is ignored if it is asked about dispensable names only.
        """
        groups: dict[str, list[str]] = {}
        for name in names:
            try:
                groups.setdefault(self._find(name).name, []).append(name)
            except StoreDown:
                if name not in dispensable:
                    raise
        answers: dict[str, Any] = {}
        for group in groups.values():
            try:
                answers |= zip(group, self._ask_one(group, command, is_confirmed), strict=True)
            except StoreDown:
                if not dispensable >= set(group):
                    raise
        return answers

    def _ask_one(self, names: list[str], command: Callable[[Any, str], object], is_confirmed: bool) -> list[Any]:
        """The answers of the server that has all of these names."""
        replicas = self._map.replicas(names[0]) if is_confirmed else 0
        with self.at(names[0]) as client, client.pipeline(transaction=False) as pipeline:
            for name in names:
                command(pipeline, name)
            if replicas:
                pipeline.wait(replicas, _CONFIRM_MILLISECONDS)
            answers: list[Any] = pipeline.execute()
        if replicas and answers.pop() < replicas:
            logger.warning(
                "a replica of the store at %s has not confirmed a delete: a failover would undo it", self.url
            )
        return answers

    def _find(self, name: str) -> Server:
        with self._failures(self._outages, UNKNOWN):
            try:
                return self._map.primary(name)
            except SlotNotCoveredError:
                pass  # the other slots have servers: no outage of the whole cluster
        with self._failures(self._gaps, UNKNOWN):
            self._map.refresh(UNKNOWN)
            return self._map.primary(name)

    @contextlib.contextmanager
    def _failures(self, outages: Outages, server: Server) -> Iterator[None]:
        is_trial = outages.is_trial(server.name)
        try:
            yield
        except _DOWN as error:
            down = StoreDown(str(error)) if _is_of_one_slot(error) else outages.begin(server.name, error)
            self._refresh(server)
            raise down from error
        except _MOVED as error:
            self._refresh(server)
            raise StoreDown(f"the store at {self.url} is moving entries: {error}") from error
        except redis.RedisError as error:
            raise StoreError(f"the store at {self.url} refused: {error}; check the server's settings") from error
        if is_trial:  # the call was made before the failure, so its answer proves nothing
            outages.end(server.name)

    def _refresh(self, failed: Server) -> None:
        with contextlib.suppress(redis.RedisError, RedisClusterException):
            self._map.refresh(failed)
            self._outages.end_replaced()
            self._replica_outages.end_replaced()

    def interrupt(self) -> None:
        """Have every further call of a primary raise StoreClosed."""
        self._is_interrupted = True

    def close(self) -> None:
        self._map.close()


def _is_of_one_slot(error: Exception) -> bool:
    """Whether a server serves its other slots. It says the same of a cluster that is down, in other words."""
    return isinstance(error, ClusterDownError) and "slot not served" in str(error)
