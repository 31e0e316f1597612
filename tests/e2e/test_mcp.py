"""`mcp`, as an agent's own client talks to it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import commands
from commands import run_around
from support import FAKE_KEY, Upstream
from test_docs import REFERENCE, code, rows

pytest.importorskip("mcp", reason="the extra mcp is not installed (scripts/setup dev)")
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, TextContent

AGENT = """
import json, os, urllib.request
with open("times", "a") as file:
    print("once more", file=file)
for build in (8812, 8813):
    text = f"Build: {build}. Which train goes to Bern?"
    messages = [{"role": "user", "content": text}]
    headers = {"content-type": "application/json", "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    body = json.dumps({"model": "gpt-4.1", "messages": messages}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
"""


def answer(result: CallToolResult) -> Any:
    """The JSON of a tool's answer, or its error."""
    text = "".join(part.text for part in result.content if isinstance(part, TextContent))
    return text if result.isError else json.loads(text)


async def asked(*calls: tuple[str, dict[str, Any]]) -> tuple[dict[str, str], list[Any]]:
    """The descriptions of the tools by name, and what these calls answer."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "computer_use_cache", "mcp"], env=dict(os.environ)
    )
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = {tool.name: tool.description or "" for tool in (await session.list_tools()).tools}
        return tools, [answer(await session.call_tool(name, arguments)) for name, arguments in calls]


def test_an_agent_finds_out_why_it_was_not_cached(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", FAKE_KEY)
    (tmp_path / "agent.py").write_text(AGENT)
    done = run_around("--base-url", "--upstream", upstream.url, "--", sys.executable, "agent.py")
    assert done.returncode == 0, done.stderr
    tools, answers = asyncio.run(
        asked(
            ("runs", {"limit": 1}),
            ("show", {"run": "last", "step": 2}),
            ("why_miss", {}),
            ("stats", {}),
            ("replay", {}),
            ("show", {"run": "nowhere"}),
        )
    )
    assert set(tools) == {name for cell, _ in rows(REFERENCE, "For agents") for name in code(cell)}
    assert "RUNS A COMMAND" in tools["replay"]
    [run], step, [cause], stats, replayed, failure = answers
    assert (run["calls"], run["misses"], run["status"]) == (2, 2, 0)
    assert step["added"][0]["text"] == "Build: 8813. Which train goes to Bern?"
    assert step["near"]["differences"][0]["path"] == "/messages/0/content"
    assert cause["settings"]["CACHE_NORMALIZE"]
    assert stats["misses"] == 2
    assert (replayed["parent"], replayed["hits"], replayed["drifts"]) == (run["id"], 2, [])
    assert (tmp_path / "times").read_text() == "once more\n" * 2, "the replay ran the command"
    assert "there is no run 'nowhere'" in failure
    assert FAKE_KEY not in json.dumps(answers)
