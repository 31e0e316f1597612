"""One upstream call for all proxies that share a store: the one that holds the key's lease makes it, the others wait
for its entry.

The lease is renewed while the call runs, and expires by itself if its holder dies. No proxy waits for a second call: if
a lease ends without an entry, those that waited go upstream themselves.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from computer_use_cache.errors import StoreError
from computer_use_cache.store.base import Leases

logger = logging.getLogger(__name__)

_FIRST_POLL_SECONDS = 0.02
_LAST_POLL_SECONDS = 0.25
_RENEW_SECONDS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """The right to make the upstream call of a key."""

    key: str
    owner: str


class LeaseHolder:
    """The leases of this proxy; `leases` is None if no other proxy shares the store. It waits for another proxy for at
    most `patience` seconds."""

    def __init__(self, leases: Leases | None, patience: float) -> None:
        self._leases = leases
        self._patience = patience
        self._held: dict[Lease, asyncio.Task[None]] = {}
        self._releases: set[asyncio.Task[None]] = set()

    async def find_or_lead[T](self, key: str, find: Callable[[], Awaitable[T | None]]) -> T | Lease | None:
        """What `find` returns once another proxy has made the call; or a Lease: call upstream, then `end` it; or None:
        call upstream without one."""
        if self._leases is None:
            return None
        lease = Lease(key, uuid.uuid4().hex)
        first_holder = holder = await self._take(self._leases, lease)
        deadline = time.monotonic() + self._patience
        poll = _FIRST_POLL_SECONDS
        while holder == first_holder and holder not in (lease.owner, None) and time.monotonic() < deadline:
            await asyncio.sleep(poll)
            poll = min(2 * poll, _LAST_POLL_SECONDS)
            if found := await find():
                return found
            holder = await self._take(self._leases, lease)
        if holder == lease.owner:
            self._held[lease] = asyncio.create_task(self._renew(self._leases, lease))
        # Another call may have ended between the last look and the end of its lease.
        try:
            found = await find()
        except BaseException:
            self.end(lease)
            raise
        if found:
            self.end(lease)
            return found
        return lease if lease in self._held else None

    async def _take(self, leases: Leases, lease: Lease) -> str | None:
        try:
            return await asyncio.to_thread(leases.take, lease.key, lease.owner)
        except StoreError as error:
            logger.log(error.level, "could not take a lease: %s", error)
            return None

    async def _renew(self, leases: Leases, lease: Lease) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await asyncio.to_thread(leases.renew, lease.key, lease.owner)
            except StoreError as error:
                logger.log(error.level, "could not renew a lease: %s", error)

    def end(self, lease: Lease) -> None:
        """Give a lease back, after the answer was stored. A lease that is not held is ignored."""
        if self._leases and (renewal := self._held.pop(lease, None)):
            renewal.cancel()
            release = asyncio.create_task(self._release(self._leases, lease))
            self._releases.add(release)  # the event loop keeps only a weak reference
            release.add_done_callback(self._releases.discard)

    async def _release(self, leases: Leases, lease: Lease) -> None:
        try:
            await asyncio.to_thread(leases.release, lease.key, lease.owner)
        except StoreError as error:
            logger.log(error.level, "could not release a lease: %s", error)

    def close(self) -> None:
        """Stop renewing: the leases expire."""
        for renewal in self._held.values():
            renewal.cancel()
        self._held.clear()
