"""Finds the server that holds a name: the only one, or the one that a cluster assigns to it.

redis-py's cluster client is used for the map of the cluster only, never to send. It tries every command of a pipeline
again on its own, so a server that hangs would hold up a call for as many seconds as the pipeline has commands.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol, assert_never

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.retry import Retry

from computer_use_cache.store.redis_scripts import PREFIX
from computer_use_cache.store_url import Kind, StoreUrl

_SHARDS = 32
"""Into how many parts a cluster's entries are divided, each kept by one server with all tables about it. Belongs to the
layout: entries are found only by the number with which they were stored."""


class Server(NamedTuple):
    name: str
    client: Any


UNKNOWN = Server("unknown", None)
"""Stands for the server of a name if no server has its slot, or if the cluster's map cannot be read."""


class ServerMap(Protocol):
    """Finds the server of a name.

    All names that begin with one of `prefixes` are on one server, and so is everything about an entry, as its names
    share a prefix. The names of runs are on one server too.
    """

    prefixes: Sequence[str]
    prefix_of_runs: str

    def primary(self, name: str) -> Server: ...
    def replica(self, name: str) -> Server: ...
    def replicas(self, name: str) -> int: ...
    def all_primaries(self) -> Collection[str]: ...
    def all_replicas(self) -> Collection[str]: ...
    def refresh(self, failed: Server) -> None:
        """Look for changes after a failure."""

    def close(self) -> None: ...


class _Single:
    """One server, or whichever server is behind one address."""

    prefixes: Sequence[str] = (PREFIX,)
    prefix_of_runs = PREFIX

    def __init__(self, url: StoreUrl, options: dict[str, Any]) -> None:
        ((host, port),) = url.servers
        retry = Retry(NoBackoff(), 0)  # the default keeps trying for many seconds
        self._server = Server("the server", redis.Redis(host=host, port=port, db=url.database, retry=retry, **options))

    def primary(self, _name: str) -> Server:
        return self._server

    replica = primary

    def replicas(self, _name: str) -> int:
        return 0

    def all_primaries(self) -> Collection[str]:
        return (self._server.name,)

    def all_replicas(self) -> Collection[str]:
        return ()

    def refresh(self, failed: Server) -> None:
        """The address may lead to another server now, but the connections do not."""
        failed.client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        self._server.client.close()


def _tag(shard: int) -> str:
    """The hash tag that gives a shard its slot: the shards are spread over all slots evenly."""
    return next(str(number) for number in range(10**6) if shard_of(str(number)) == shard)


def shard_of(key: str) -> int:
    """The part of the entries to which a key belongs."""
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

    def _server(self, node: ClusterNode) -> Server:
        return Server(node.name, self._connected().get_redis_connection(node))

    def primary(self, name: str) -> Server:
        return self._server(self._connected().get_node_from_key(name))

    def replica(self, name: str) -> Server:
        """One of the replicas at random, or the primary if it has none."""
        client = self._connected()
        strategy = LoadBalancingStrategy.RANDOM_REPLICA
        node = client.nodes_manager.get_node_from_slot(client.keyslot(name), load_balancing_strategy=strategy)
        return self._server(node)

    def replicas(self, name: str) -> int:
        client = self._connected()
        return max(len(client.nodes_manager.slots_cache.get(client.keyslot(name), ())) - 1, 0)

    def all_primaries(self) -> Collection[str]:
        known = {node.name for node in self._client.get_primaries()} if self._client else set()
        return {UNKNOWN.name, *known}

    def all_replicas(self) -> Collection[str]:
        return {node.name for node in self._client.get_replicas()} if self._client else set()

    def refresh(self, failed: Server) -> None:
        if self._client:
            self._client.nodes_manager.initialize(last_failed_node_name=failed.name)

    def close(self) -> None:
        if self._client:
            self._client.close()


def map_of(url: StoreUrl, options: dict[str, Any]) -> ServerMap:
    """The map of the servers at an address; `options` are those of every connection."""
    match url.kind:
        case Kind.SINGLE:
            return _Single(url, options)
        case Kind.CLUSTER:
            return _Cluster(url, options)
        case _:
            assert_never(url.kind)
