"""What the leader of identical requests holds while it makes the upstream call: a flight in this proxy and, if several
proxies share the store, a lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.flights.flight import Flights, Landing, Released
from computer_use_cache.flights.leases import Lease, LeaseHolder
from computer_use_cache.flights.sender import Sender


class Lead:
    """The lead of one request's key, begun at once; its holder must `release` it."""

    def __init__(self, plan: Plan, flights: Flights, leases: LeaseHolder) -> None:
        self.flight = flights.begin(plan.key, Sender.of(plan))
        self.landing: Landing = Released.ALONE
        """What the followers will get."""
        self._flights = flights
        self._leases = leases
        self._lease: Lease | None = None

    async def take_lease(self, find: Callable[[], Awaitable[Serve | None]]) -> Serve | None:
        """Wait while another proxy makes the call. Returns its answer, which `find` finds; None if this proxy must
        call."""
        found = await self._leases.find_or_lead(self.flight.key, find)
        if isinstance(found, Serve):
            self.landing = found.entry
            return found
        self._lease = found
        return None

    def is_wanted(self) -> bool:
        """Whether a follower still waits. If not, no further request can follow."""
        if not self.flight.is_wanted:
            self._flights.withdraw(self.flight)
        return self.flight.is_wanted

    def close(self) -> None:
        """Let no further request wait for this call, here or in another proxy: its answer will not be stored."""
        self._flights.withdraw(self.flight)
        self.flight.close()
        self._end_lease()

    def release(self) -> None:
        """Land the flight and give back the lease, after the answer was stored. A second call changes nothing."""
        try:
            self._flights.land(self.flight, self.landing)
        finally:
            self._end_lease()

    def _end_lease(self) -> None:
        if self._lease:
            self._leases.end(self._lease)
