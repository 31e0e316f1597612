"""Leases in a folder, for processes on one machine."""

from __future__ import annotations

from pathlib import Path

from computer_use_cache.store.base import LEASE_SECONDS
from computer_use_cache.store.sqlite import Database


class DiskLeases:
    """The leases of processes on one machine."""

    def __init__(self, folder: Path) -> None:
        """Opens or creates the folder; raises StoreError."""
        self._leases = Database(folder, eviction_policy="none")

    def take(self, key: str, owner: str) -> str:
        with self._leases.use() as leases, leases.transact():
            holder = leases.get(key)
            if isinstance(holder, bytes) and holder != owner.encode():
                return holder.decode()
            leases.set(key, owner.encode(), expire=LEASE_SECONDS)
            return owner

    def renew(self, key: str, owner: str) -> None:
        with self._leases.use() as leases, leases.transact():
            if leases.get(key) == owner.encode():
                leases.touch(key, expire=LEASE_SECONDS)

    def release(self, key: str, owner: str) -> None:
        with self._leases.use() as leases, leases.transact():
            if leases.get(key) == owner.encode():
                leases.delete(key)

    def close(self) -> None:
        """Release the files."""
        with self._leases.use() as leases:
            leases.close()
