"""A real agent with tools runs twice: the second run never reaches the provider, and an edited prompt is named."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import support
from support import FAKE_KEY, Proxy, Upstream

PROMPT = "You plan journeys. Look up the platform before you answer, and answer in one sentence."
TASKS = ("How do I get from Basel to Bern?", "Which train goes to Lugano at noon?")


async def run_agent(proxy: Proxy, prompt: str, task: str) -> tuple[str, list[str]]:
    """What the agent answers, and the arguments its tool was called with."""
    looked_up: list[str] = []
    async with AsyncOpenAI(base_url=proxy.url, api_key=FAKE_KEY) as client:
        model = OpenAIChatModel("gpt-test", provider=OpenAIProvider(openai_client=client))
        agent = Agent(model, system_prompt=prompt)

        @agent.tool_plain
        def platform(train: str) -> str:
            """The platform of a train."""
            looked_up.append(train)
            return f"{train} leaves from platform 7"

        done = await agent.run(task)
        return done.output, looked_up


def run_all(proxy: Proxy, prompt: str) -> list[tuple[str, list[str]]]:
    return [asyncio.run(run_agent(proxy, prompt, task)) for task in TASKS]


async def provider(asked: support.Asked, send: support.Send) -> None:
    """Two tool calls, one after the other, then an answer. No id occurs twice, as with real providers."""
    messages = asked.json()["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    number = len(results)
    if number < 2:
        arguments = json.dumps({"train": f"IC {number}"})
        call = {"id": f"call_{os.urandom(4).hex()}", "type": "function"}
        call["function"] = {"name": "platform", "arguments": arguments}  # type: ignore[assignment]
        message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    else:
        message = {"role": "assistant", "content": "; ".join(results)}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "stop" if number == 2 else "tool_calls",
        "logprobs": None,
    }
    await send(support.response(json.dumps(support.completion("", choices=[choice])).encode()))


def test_the_second_run_is_all_hits(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = provider
    first = run_all(proxy, PROMPT)
    assert first[0] == ("IC 0 leaves from platform 7; IC 1 leaves from platform 7", ["IC 0", "IC 1"])
    assert len(upstream.asked) == 6

    upstream.stop()
    assert run_all(proxy, PROMPT) == first
    counted = proxy.stats()
    assert (counted["hits"], counted["misses"], counted["coalesced"]) == (6, 6, 0)


def test_after_an_edit_of_the_prompt_the_summary_names_it(proxy: Proxy, upstream: Upstream, tmp_path: Path) -> None:
    upstream.handler = provider
    for prompt in (PROMPT, PROMPT.replace("one sentence", "two sentences")):
        run_all(proxy, prompt)
    done = subprocess.run(
        [sys.executable, "-m", "computer_use_cache", "explain", "--summary", "--json"],
        env=os.environ | {"CACHE_DIR": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    groups = {group["path"]: group["misses"] for group in json.loads(done.stdout)}
    assert groups == {"/messages/0/content": 6}
