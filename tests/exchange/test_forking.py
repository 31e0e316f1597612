"""Forks: the calls before the fork come from the store, its first call is changed or answered, and no entry of the
earlier run is replaced."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.exchange.decisions import Forward, Refuse, Serve
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.forking import Forking, with_model
from computer_use_cache.exchange.result import Result
from computer_use_cache.models import NOTHING, Outcome, Request, Response
from computer_use_cache.run_models import Fork
from exchange.house import GOOD, UPSTREAM, House, failure
from support import chat_request, completion

AT_3 = Fork(after=2, run="r2")
BETTER = Response(200, {"content-type": "application/json"}, json.dumps(completion("other")).encode(), 1.0)


class Agent:
    """An agent whose calls all say the number of the call and what was answered so far."""

    def __init__(self, house: House, forking: Forking | None = None) -> None:
        self.house = house
        self.forking = forking
        self.exchange: Exchange | None = None

    def asks(self, text: str, path: str = "/chat/completions", **fields: Any) -> Exchange:
        body = json.dumps(chat_request(text, **fields)).encode()
        request = Request(UPSTREAM, path, (), {}, body)
        step = self.forking.next(request) if self.forking else None
        plan = self.house.cache.plan(step.request if step else request)
        return Exchange(self.house.shared, step.restrict(plan) if step else plan, lambda: True, step=step)

    async def is_refused(self, text: str) -> Refuse:
        exchange = self.asks(text)
        answer = await exchange.resolve()
        assert isinstance(answer, Refuse)
        exchange.settle(answer, self.house.now)
        return answer

    async def gets(self, text: str, response: Response = GOOD, **fields: Any) -> tuple[Result, str, bytes]:
        """The result of a call, the model that it was made to, and the answer. `response` is the upstream's."""
        exchange = self.asks(text, **fields)
        answer = await exchange.resolve()
        if isinstance(answer, Forward):
            result = exchange.settle(await exchange.on_response(response), self.house.now)
            return result, json.loads(exchange.plan.forward)["model"], response.body
        assert isinstance(answer, Serve)
        return exchange.settle(answer, self.house.now), exchange.plan.model, b"".join(answer.pieces)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A proxy that has recorded a run of three calls."""
    house = House(tmp_path, CACHE_SAMPLES="ordered", CACHE_REBIND="on")

    async def record() -> None:
        agent = Agent(house)
        for text in ("one", "two", "three"):
            assert (await agent.gets(text))[0].outcome is Outcome.MISS

    asyncio.run(record())
    house.cache.samples.forget()
    return house


def test_a_fork_leaves_the_recorded_run_as_it_was(house: House) -> None:
    async def fork() -> None:
        agent = Agent(house, Forking([AT_3], is_new=True))
        before = [(await agent.gets(text))[0].outcome for text in ("one", "two")]
        assert before == [Outcome.HIT, Outcome.HIT]
        result, model, _ = await agent.gets("three", BETTER)
        assert (result.outcome, model) == (Outcome.MISS, "gpt-test")
        assert (await agent.gets("four", BETTER))[0].outcome is Outcome.MISS

    async def replay(forking: Forking | None, *answers: bytes) -> None:
        agent = Agent(house, forking)
        for text, answer in zip(("one", "two", "three", "four"), answers, strict=False):
            result, _, body = await agent.gets(text)
            assert (result.outcome, body) == (Outcome.HIT, answer), text

    asyncio.run(fork())
    house.cache.samples.forget()
    asyncio.run(replay(None, GOOD.body, GOOD.body, GOOD.body))
    house.cache.samples.forget()
    asyncio.run(replay(Forking([AT_3], is_new=False), GOOD.body, GOOD.body, BETTER.body, BETTER.body))


def test_only_the_first_call_of_a_fork_goes_to_the_other_model_and_its_retries_do(house: House) -> None:
    async def fork() -> list[str]:
        agent = Agent(house, Forking([Fork(after=1, run="r", model="other")], is_new=True))
        await agent.gets("one")
        models = [(await agent.gets("two", response))[1] for response in (failure(429), failure(503), GOOD)]
        return [*models, (await agent.gets("three"))[1]]

    assert asyncio.run(fork()) == ["other", "other", "other", "gpt-test"]


def test_a_step_before_the_fork_that_is_not_stored_is_refused_and_does_not_count(house: House) -> None:
    async def fork() -> None:
        agent = Agent(house, Forking([AT_3], is_new=True))
        refusal = await agent.is_refused("won")
        assert "fork --from lets nothing go upstream" in refusal.error.message
        assert "CACHE_MODE" not in refusal.error.message
        for text in ("one", "two"):
            assert (await agent.gets(text))[0].outcome is Outcome.HIT
        assert (await agent.gets("three", BETTER))[0].outcome is Outcome.MISS

    asyncio.run(fork())


@pytest.mark.parametrize(
    ("given", "said"),
    [("Click <OK>.", "Click <OK>."), ('{"action": "click"}', '{"action": "click"}'), (GOOD.body.decode(), "pong")],
    ids=["text", "JSON that is no answer", "an answer"],
)
def test_an_answer_is_given_once_in_the_shape_that_was_asked_for(house: House, given: str, said: str) -> None:
    async def fork() -> None:
        agent = Agent(house, Forking([AT_3], is_new=True, answer=given))
        for text in ("one", "two"):
            await agent.gets(text)
        result, _, body = await agent.gets("three", stream=True)
        assert (result.outcome, result.saved) == (Outcome.HIT, NOTHING)
        chunks = [json.loads(line.removeprefix(b"data: ")) for line in body.split(b"\n\n")[:-2]]
        assert "".join(choice["delta"].get("content") or "" for one in chunks for choice in one["choices"]) == said
        assert (await agent.gets("four"))[0].outcome is Outcome.MISS

    asyncio.run(fork())


def test_an_answer_that_is_half_of_one_is_refused(house: House) -> None:
    async def fork() -> Refuse:
        return await Agent(house, Forking([Fork(after=0, run="r")], is_new=True, answer='{"choices": []}')).is_refused(
            "1"
        )

    assert "cannot be the answer of chat_completions: the answer has no choices" in asyncio.run(fork()).error.message


def test_a_fork_of_a_fork_takes_the_same_ways_before_its_own(house: House) -> None:
    first = Fork(after=1, run="a", model="second")

    async def fork() -> None:
        agent = Agent(house, Forking([first], is_new=True))
        for text in ("one", "two", "three"):
            await agent.gets(text, BETTER)
        again = Agent(house, Forking([first, Fork(after=2, run="b", model="third")], is_new=True))
        house.cache.samples.forget()
        found = [await again.gets(text) for text in ("one", "two", "three")]
        assert [(result.outcome, model) for result, model, _ in found] == [
            (Outcome.HIT, "gpt-test"),
            (Outcome.HIT, "second"),
            (Outcome.MISS, "third"),
        ]

    asyncio.run(fork())


def test_a_model_that_the_path_names_is_replaced_there() -> None:
    path = "/models/gemini-2.5-pro:generateContent"
    changed = with_model(Request("https://g.example/v1beta", path, (), {}, b'{"contents": []}'), "gemini-3")
    assert (changed.path, changed.body) == ("/models/gemini-3:generateContent", b'{"contents": []}')
