"""Leases on the servers of a shared store. If a failover loses one, two proxies make the same call."""

from __future__ import annotations

from computer_use_cache.store import base
from computer_use_cache.store.redis_scripts import PREFIX
from computer_use_cache.store.redis_servers import Servers

_LEASE = PREFIX + "lease:"
_LEASE_MILLISECONDS = base.LEASE_SECONDS * 1000

_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class RedisLeases:
    """The methods are those of `Leases`."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def take(self, key: str, owner: str) -> str:
        with self._servers.at(_LEASE + key) as server:
            holder: bytes = server.eval(_TAKE, 1, _LEASE + key, owner, _LEASE_MILLISECONDS)
        return holder.decode()

    def renew(self, key: str, owner: str) -> None:
        with self._servers.at(_LEASE + key) as server:
            server.eval(_RENEW, 1, _LEASE + key, owner, _LEASE_MILLISECONDS)

    def release(self, key: str, owner: str) -> None:
        with self._servers.at(_LEASE + key) as server:
            server.eval(_RELEASE, 1, _LEASE + key, owner)
