"""Which proxy makes a call that several want: two LeaseHolders on a real server stand for two machines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from computer_use_cache.flights.leases import Lease, LeaseHolder

redis_store = pytest.importorskip("computer_use_cache.store.redis", reason="the redis package is not installed")
redis_leases = pytest.importorskip("computer_use_cache.store.redis_leases")


@pytest.fixture
def leases(store_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The leases on the server, which do not expire while a test runs."""
    monkeypatch.setattr(redis_leases, "_LEASE_MILLISECONDS", 3_600_000)
    store = redis_store.RedisStore(store_server.connection_url, "", 2**20)
    yield store.leases
    store.close()


def finds(*answers: str | None) -> Callable[[], Awaitable[str | None]]:
    """A look for an entry that gives these one after the other, and nothing from then on."""
    left = list(answers)

    async def find() -> str | None:
        return left.pop(0) if left else None

    return find


def test_without_leases_every_caller_makes_its_own_call() -> None:
    assert asyncio.run(LeaseHolder(None, 1).find_or_lead("key", finds("never asked"))) is None


def test_the_first_leads_and_the_second_gets_what_it_brought(leases: Any) -> None:
    async def scenario() -> None:
        one, two = LeaseHolder(leases, 60), LeaseHolder(leases, 60)
        lease = await one.find_or_lead("key", finds())
        assert isinstance(lease, Lease)
        assert isinstance(await one.find_or_lead("another key", finds()), Lease)
        assert await two.find_or_lead("key", finds(None, None, "entry")) == "entry"
        one.close()

    asyncio.run(scenario())


def test_who_waited_is_free_when_the_call_ends_without_an_entry(leases: Any) -> None:
    async def scenario() -> None:
        one, two, three = (LeaseHolder(leases, 60) for _ in range(3))
        lease = await one.find_or_lead("key", finds())
        assert isinstance(lease, Lease)
        waiting = [asyncio.create_task(fleet.find_or_lead("key", finds())) for fleet in (two, three)]
        await asyncio.wait(waiting, timeout=0)
        one.end(lease)
        results = await asyncio.gather(*waiting)
        assert all(result is None or isinstance(result, Lease) for result in results)
        assert any(isinstance(result, Lease) for result in results)
        two.close()
        three.close()

    asyncio.run(scenario())


def test_an_entry_that_came_just_before_the_lease_is_found_and_the_lease_given_back(leases: Any) -> None:
    async def scenario() -> None:
        one = LeaseHolder(leases, 60)
        assert await one.find_or_lead("key", finds("entry")) == "entry"
        while leases.take("key", "another") != "another":
            await asyncio.sleep(0)

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_lease_is_given_back_if_the_last_look_fails(leases: Any, error: type[BaseException]) -> None:
    async def find() -> None:
        raise error

    async def scenario() -> None:
        with pytest.raises(error):
            await LeaseHolder(leases, 60).find_or_lead("key", find)
        while leases.take("key", "another") != "another":
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_nobody_waits_longer_than_its_patience(leases: Any) -> None:
    leases.take("key", "another")
    assert asyncio.run(LeaseHolder(leases, 0.1).find_or_lead("key", finds())) is None


def test_without_the_server_every_caller_makes_its_own_call(leases: Any, store_server: Any) -> None:
    store_server.stop()
    assert asyncio.run(LeaseHolder(leases, 60).find_or_lead("key", finds())) is None
