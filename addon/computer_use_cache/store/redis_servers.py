"""The servers of a shared store: one, or a cluster whose primaries share the keys. Finds the server of each name, and
turns its failures into StoreErrors.

redis-py's cluster client is used for the map of the cluster only, never to send. It tries every command of a pipeline
again on its own, so a server that hangs would hold up a call for as many seconds as the pipeline has commands. A call
that finds the map outdated fails, as a miss, and has the map read again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from typing import Any, NamedTuple, Protocol, assert_never
from urllib.parse import unquote

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ClusterDownError, MasterDownError, RedisClusterException, TryAgainError
from redis.retry import Retry

from computer_use_cache.errors import StoreDown, StoreError
from computer_use_cache.store.redis_outages import Outages
from computer_use_cache.store.redis_scripts import PREFIX
from computer_use_cache.store_url import Kind, StoreUrl

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_CONFIRM_MILLISECONDS = 500
"""How long a delete waits for the replicas."""
_SHARDS = 32
"""Into how many parts a cluster's entries are divided, each kept by one server with all tables about it. Belongs to the
layout: entries are found only by the number with which they were stored."""

_DOWN = (
    *(redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError),
    *(ClusterDownError, MasterDownError, RedisClusterException),
)
"""Errors of a server that cannot be used. One is read-only if it is no longer the primary."""
_MOVED = (redis.exceptions.AskError, TryAgainError)
"""What a server answers about a key that it no longer has, or does not have yet. MovedError is an AskError."""


class _Server(NamedTuple):
    name: str
    client: Any


_UNKNOWN = _Server("unknown", None)
"""Stands for the server of a name if no server has its slot, or if the cluster's map cannot be read."""


class _Map(Protocol):
    """Knows which server has which name."""

    prefixes: Sequence[str]
    prefix_of_runs: str

    def primary(self, name: str) -> _Server: ...
    def replica(self, name: str) -> _Server: ...
    def replicas(self, name: str) -> int: ...
    def all_primaries(self) -> Collection[str]: ...
    def all_replicas(self) -> Collection[str]: ...
    def refresh(self, failed: _Server) -> None:
        """Look for changes after a failure."""

    def close(self) -> None: ...


class _Single:
    """One server, or whichever server is behind one address."""

    prefixes: Sequence[str] = (PREFIX,)
    prefix_of_runs = PREFIX

    def __init__(self, url: StoreUrl, options: dict[str, Any]) -> None:
        ((host, port),) = url.servers
        retry = Retry(NoBackoff(), 0)  # the default keeps trying for many seconds
        self._server = _Server("the server", redis.Redis(host=host, port=port, db=url.database, retry=retry, **options))

    def primary(self, _name: str) -> _Server:
        return self._server

    replica = primary

    def replicas(self, _name: str) -> int:
        return 0

    def all_primaries(self) -> Collection[str]:
        return (self._server.name,)

    def all_replicas(self) -> Collection[str]:
        return ()

    def refresh(self, failed: _Server) -> None:
        """The address may lead to another server now, but the connections do not."""
        failed.client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        self._server.client.close()


def _tag(shard: int) -> str:
    """The hash tag that gives a shard its slot: the shards are spread over all slots evenly."""
    return next(str(number) for number in range(10**6) if _shard(str(number)) == shard)


def _shard(key: str) -> int:
    return int(key_slot(key.encode()) * _SHARDS // REDIS_CLUSTER_HASH_SLOTS)


class _Cluster:
    """A cluster. Connects when it is used first."""

    prefixes: Sequence[str] = tuple(f"{PREFIX}{{{_tag(shard)}}}:" for shard in range(_SHARDS))
    prefix_of_runs = PREFIX + "{runs}:"

    def __init__(self, url: StoreUrl, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options
        self._lock = threading.Lock()
        self._client: Any = None

    def _connected(self) -> Any:
        with self._lock:
            self._client = self._client or RedisCluster(
                startup_nodes=[ClusterNode(*server) for server in self._url.servers],  # type: ignore[no-untyped-call]
                require_full_coverage=False,
                retry=Retry(NoBackoff(), 0),
                **self._options,
            )
            return self._client

    def _server(self, node: ClusterNode) -> _Server:
        return _Server(node.name, self._connected().get_redis_connection(node))

    def primary(self, name: str) -> _Server:
        return self._server(self._connected().get_node_from_key(name))

    def replica(self, name: str) -> _Server:
        """One of the replicas at random, or the primary if it has none."""
        client = self._connected()
        strategy = LoadBalancingStrategy.RANDOM_REPLICA
        node = client.nodes_manager.get_node_from_slot(client.keyslot(name), load_balancing_strategy=strategy)
        return self._server(node)

    def replicas(self, name: str) -> int:
        client = self._connected()
        return len(client.nodes_manager.slots_cache[client.keyslot(name)]) - 1

    def all_primaries(self) -> Collection[str]:
        known = {node.name for node in self._client.get_primaries()} if self._client else set()
        return {_UNKNOWN.name, *known}

    def all_replicas(self) -> Collection[str]:
        return {node.name for node in self._client.get_replicas()} if self._client else set()

    def refresh(self, failed: _Server) -> None:
        if self._client:
            self._client.nodes_manager.initialize(last_failed_node_name=failed.name)

    def close(self) -> None:
        if self._client:
            self._client.close()


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
        self._map = _map(parsed, options)
        self.prefixes = self._map.prefixes
        self.prefix_of_runs = self._map.prefix_of_runs
        self.reads_replicas = parsed.reads_replicas
        place = f"the store at {url}"
        self._outages = Outages(place, "requests go upstream", self._map.all_primaries)
        self._replica_outages = Outages(f"a replica of {place}", "primaries are read", self._map.all_replicas)

    def prefix(self, key: str) -> str:
        """The prefix of the names that have to do with an entry."""
        return self.prefixes[_shard(key)] if len(self.prefixes) > 1 else self.prefixes[0]

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[Any]:
        """The client of the server that has `name`. The block fails with StoreErrors."""
        server = self._find(name)
        with self._failures(self._outages, server):
            yield server.client

    @contextlib.contextmanager
    def at_replica(self, name: str) -> Iterator[Any]:
        """A pipeline to a replica of that server, whose value of `name` may be out of date."""
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
            groups.setdefault(self._find(name).name, []).append(name)
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

    def _find(self, name: str) -> _Server:
        with self._failures(self._outages, _UNKNOWN):
            return self._map.primary(name)

    @contextlib.contextmanager
    def _failures(self, outages: Outages, server: _Server) -> Iterator[None]:
        is_trial = outages.is_trial(server.name)
        try:
            yield
        except _DOWN as error:
            down = outages.begin(server.name, error)
            self._refresh(server)
            raise down from error
        except _MOVED as error:
            self._refresh(server)
            raise StoreDown(f"the store at {self.url} is moving entries: {error}") from error
        except redis.RedisError as error:
            raise StoreError(f"the store at {self.url} refused: {error}; check the server's settings") from error
        if is_trial:  # the call was made before the failure, so its answer proves nothing
            outages.end(server.name)

    def _refresh(self, failed: _Server) -> None:
        with contextlib.suppress(redis.RedisError, RedisClusterException):
            self._map.refresh(failed)
            self._outages.end_replaced()
            self._replica_outages.end_replaced()

    def close(self) -> None:
        self._map.close()


def _map(url: StoreUrl, options: dict[str, Any]) -> _Map:
    match url.kind:
        case Kind.SINGLE:
            return _Single(url, options)
        case Kind.CLUSTER:
            return _Cluster(url, options)
        case _:
            assert_never(url.kind)
