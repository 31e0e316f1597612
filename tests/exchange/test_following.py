"""A request that follows another's call gets nothing that concerns only the leader's credentials."""

from __future__ import annotations

import asyncio

import pytest

from computer_use_cache.exchange.decisions import Answer, Forward, Join, Share, ShareError
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.states import State
from computer_use_cache.models import Response
from credential_samples import token
from exchange.house import EVENTS, STREAM, House, failure

CALLER = {"authorization": f"Bearer {token('a1B2')}", "openai-organization": "one"}


def body(credential: str) -> dict[str, str]:
    """A member of the body with this credential, which is not part of the key."""
    return {"api_key": credential} if credential else {}


async def followed(leader: Exchange, follower: Exchange) -> asyncio.Task[Answer | Forward]:
    assert leader.plan.key == follower.plan.key
    task = asyncio.create_task(follower.resolve())
    while follower.state is not State.FOLLOWING:
        await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("status", [401, 429, 503])
@pytest.mark.parametrize(
    ("headers", "credential", "is_shared"),
    [
        pytest.param(CALLER, "one", True, id="the same credentials"),
        pytest.param(CALLER | {"authorization": token("c3D4")}, "one", False, id="another key"),
        pytest.param({}, "one", False, id="no key"),
        pytest.param(CALLER | {"openai-organization": "two"}, "one", False, id="another account"),
        pytest.param(CALLER, "two", False, id="another credential in the body"),
        pytest.param(CALLER, "", False, id="no credential in the body"),
    ],
)
def test_an_error_is_shared_with_requests_that_carry_the_same_credentials(
    house: House, status: int, headers: dict[str, str], credential: str, is_shared: bool
) -> None:
    async def live() -> None:
        leader, follower = house.asks(CALLER, **body("one")), house.asks(headers, **body(credential))
        assert isinstance(await leader.resolve(), Forward)
        task = await followed(leader, follower)
        leader.settle(await leader.on_response(failure(status)), house.now)
        assert isinstance(await task, ShareError if is_shared else Forward)

    asyncio.run(asyncio.wait_for(live(), 30))


@pytest.mark.parametrize(
    ("one", "other", "is_joined"),
    [
        pytest.param("", "", True, id="none"),
        pytest.param("one", "one", True, id="the same one"),
        pytest.param("one", "two", False, id="another one"),
        pytest.param("one", "", False, id="only the leader's"),
    ],
)
def test_a_stream_is_joined_if_it_can_repeat_no_other_credential_of_a_body(
    house: House, one: str, other: str, is_joined: bool
) -> None:
    async def live() -> None:
        leader, follower = house.asks(CALLER, stream=True, **body(one)), house.asks(stream=True, **body(other))
        assert isinstance(await leader.resolve(), Forward)
        await leader.begin_stream(200, 0.0, STREAM)
        task = await followed(leader, follower)
        for event in EVENTS:
            leader.feed(event, 0.1)
        assert leader.recorder
        whole = Response(200, {"content-type": "text/event-stream"}, leader.recorder.body, 9.0)
        leader.settle(await leader.on_response(whole), house.now)
        assert isinstance(await task, Join if is_joined else Share)

    asyncio.run(asyncio.wait_for(live(), 30))
