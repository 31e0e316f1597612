"""The tools of `mcp`. Each is a command with `--json`, run as a process of its own: an agent sees what a person sees,
and a long replay holds nothing up."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import ToolAnnotations

server = FastMCP(
    "computer-use-cache",
    instructions=(
        "A cache answers repeated model calls from disk. These tools tell what a run of an agent did, what it cost, "
        "and which settings would have made its misses hits. RUN is an id, `last`, or `last~1` for the run before."
    ),
    log_level="WARNING",
)
_LONGEST_TEXT = 4000
_EMPTY: tuple[Any, ...] = ("", None, {})
_READS = ToolAnnotations(readOnlyHint=True, openWorldHint=False)
_RUNS_A_COMMAND = ToolAnnotations(readOnlyHint=False, destructiveHint=True, openWorldHint=True)


@server.tool(annotations=_READS, structured_output=False)
async def runs(limit: int = 10) -> str:
    """The newest runs: id, when, command, calls, hits, misses, money saved, exit status."""
    return await _output_of("runs", "--limit", str(limit))


@server.tool(annotations=_READS, structured_output=False)
async def show(run: str = "last", step: int | None = None) -> str:
    """The calls of a run, or one step in full: what was new in its request, what was answered, tokens, price, and why
    it was a miss."""
    return await _output_of("show", "--", run, *([] if step is None else [str(step)]))


@server.tool(annotations=_READS, structured_output=False)
async def why_miss(run: str = "last") -> str:
    """Why calls of a run were misses although a similar request is recorded: where the two first differ, grouped by
    cause, and the settings (environment variables) that would have made them hits."""
    return await _output_of("explain", "--summary", "--run", run)


@server.tool(annotations=_READS, structured_output=False)
async def stats() -> str:
    """What the cache holds, how often it answered, and what that saved, over all runs."""
    return await _output_of("stats")


@server.tool(annotations=_RUNS_A_COMMAND, structured_output=False)
async def replay(run: str = "last") -> str:
    """RUNS A COMMAND on this machine: the one that `computer-use-cache run` recorded, again, in its folder, with
    all its effects. Only its model calls are answered from the cache; none goes to a provider. Returns where it
    left the recorded path. A run that was not recorded by `run` has no command, and is refused; so is one that was
    imported, whose command somebody else wrote."""
    return await _output_of("replay", "--", run)


async def _output_of(*arguments: str) -> str:
    """The JSON that a command prints, shortened. Raises ToolError with its message if it prints none."""
    command = (sys.executable, "-m", "computer_use_cache", arguments[0], "--json", *arguments[1:])
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:  # the agent has withdrawn its call
            process.terminate()
    if not output.strip():
        raise ToolError(errors.decode(errors="replace").strip())
    return json.dumps(_shortened(json.loads(output)), ensure_ascii=False)


def _shortened(value: Any) -> Any:
    """JSON without empty members and the ends of long texts: an agent pays for each word."""
    match value:
        case dict():
            return {name: _shortened(member) for name, member in value.items() if member not in _EMPTY}
        case list():
            return [_shortened(member) for member in value]
        case str() if len(value) > _LONGEST_TEXT:
            return f"{value[:_LONGEST_TEXT]}… ({len(value):,} characters)"
    return value
