"""The lead of one key: how long other requests wait for its call, here and in other proxies."""

from __future__ import annotations

import asyncio
from pathlib import Path

from computer_use_cache.exchange.lead import Lead
from computer_use_cache.flights.flight import Flights
from computer_use_cache.flights.leases import Lease, LeaseHolder
from computer_use_cache.store.disk import DiskStore
from exchange.house import House


async def nothing() -> None:
    """Finds no entry."""


def test_nobody_waits_for_an_answer_that_will_not_be_stored(tmp_path: Path, house: House) -> None:
    plan, store = house.asks().plan, DiskStore(tmp_path / "leases", 2**20, leases=True)

    async def scenario() -> None:
        here, there = (LeaseHolder(store.leases, patience=10.0) for _ in range(2))
        flights = Flights()
        lead = Lead(plan, flights, here)
        await lead.take_lease(nothing)
        assert flights.find(plan.key) is lead.flight
        lead.close()
        assert flights.find(plan.key) is None
        assert isinstance(await there.find_or_lead(plan.key, nothing), Lease)
        there.close()

    asyncio.run(scenario())
    store.close()
