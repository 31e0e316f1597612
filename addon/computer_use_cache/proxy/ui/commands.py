"""Commands for mitmproxy's prompt and mitmweb's command bar; what becomes of one is told in the event log.

None holds up the event loop: each begins its work and returns.
"""

from __future__ import annotations

import asyncio
import logging
import pathlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from mitmproxy import command, ctx, flow, http, types
from mitmproxy.exceptions import CommandError
from mitmproxy.log import ALERT
from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.errors import CacheError
from computer_use_cache.models import Bypass
from computer_use_cache.proxy import flows, forwarding
from computer_use_cache.proxy.session import Parts
from computer_use_cache.store.base import Choice
from computer_use_cache.transfer import jsonl

logger = logging.getLogger(__name__)

_REFRESH, _READ = {"x-cache-mode": "refresh"}, {"x-cache-mode": "readonly"}


class Commands:
    """The addon of the commands."""

    name = "cache_commands"

    def __init__(self, parts: Callable[[], Parts | None]) -> None:
        self._parts = parts
        self._running: set[asyncio.Task[None]] = set()

    @command.command("cache.stats")
    def stats(self) -> None:
        """Tell what the cache holds and what it did."""
        self._begin(_stats(self._needed()))

    @command.command("cache.clear")
    def clear(self) -> None:
        """Remove every entry from the cache."""
        self._begin(_clear(self._needed()))

    @command.command("cache.evict")
    def evict(self, flows: Sequence[flow.Flow]) -> None:
        """Remove the entries that answer these flows."""
        self._begin(_evict(self._needed(), _model_calls(flows)))

    @command.command("cache.refresh")
    def refresh(self, flows: Sequence[flow.Flow]) -> None:
        """Ask upstream again for these flows, at once, and keep the new answers."""
        self._begin(_refresh(self._needed(), _model_calls(flows)))

    @command.command("cache.explain")
    def explain(self, flows: Sequence[flow.Flow]) -> None:
        """Tell which other entry is nearest to each of these flows' requests, and where the two differ."""
        self._begin(_explain(self._needed(), _model_calls(flows)))

    @command.command("cache.export")
    def export(self, path: types.Path) -> None:
        """Write every entry to a file as JSON lines, which `computer-use-cache import` reads again."""
        self._begin(_export(self._needed(), pathlib.Path(path)))

    def _needed(self) -> Parts:
        parts = self._parts()
        if parts is None:
            raise CommandError("the cache is not running; see the event log")
        return parts

    def _begin(self, work: Awaitable[str]) -> None:
        task = asyncio.get_running_loop().create_task(_tell(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _tell(work: Awaitable[str]) -> None:
    try:
        logger.log(ALERT, "%s", await work)
    except (CacheError, CommandError) as error:
        logger.error("%s", error)
    except Exception:
        logger.exception("the command failed")


async def _stats(parts: Parts) -> str:
    found = await parts.write(parts.ledger.statistics, parts.settings, time.time())
    stats: dict[str, Any] = msgspec.to_builtins(found)
    counts = [f"{name} {stats[name]}" for name in ("entries", "hits", "misses", "stale", "coalesced", "stored")]
    bypasses = sum(stats["bypasses"].values())
    return f"{', '.join(counts)}, bypasses {bypasses}, hit rate {stats['hit_rate']:.0%}, {stats['bytes']:,} bytes"


async def _clear(parts: Parts) -> str:
    return f"cleared {await parts.write(parts.cache.store.clear)} entries"


async def _export(parts: Parts, path: pathlib.Path) -> str:
    content = jsonl.lines(parts.cache.store, Choice(), time.time())
    try:
        count = await asyncio.to_thread(jsonl.write, path, content)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None
    return f"exported {count} entries to {path}"


async def _evict(parts: Parts, flows: Sequence[http.HTTPFlow]) -> str:
    keys = {key for flow in flows if (key := flow.metadata.get("cache_key"))}
    evicted = [key for key in sorted(keys) if await parts.write(parts.cache.store.delete, key)]
    return f"evicted {len(evicted)} of {len(keys)} entries"


async def _explain(parts: Parts, flows: Sequence[http.HTTPFlow]) -> str:
    told = []
    for one in flows:
        plan = await _plan(parts, one, _READ)
        if isinstance(plan.verdict, Bypass):
            told.append(f"BYPASS {plan.verdict}")
            continue
        found = await asyncio.to_thread(near_miss.study, parts.cache, plan)
        if found.near is None:
            told.append(f"{plan.key[:8]}: {found.bypass or 'no other stored request is near it'}")
            continue
        told.append(f"{plan.key[:8]} is near {found.near.key[:8]} and differs at")
        for place in found.near.differences:
            told.append(f"  {place}: {_side(place.asked)}, stored {_side(place.recorded)}")
    return "\n".join(told)


def _side(text: str | None) -> str:
    return "nothing" if text is None else text


async def _refresh(parts: Parts, flows: Sequence[http.HTTPFlow]) -> str:
    for one in flows:
        plan = await _plan(parts, one, _REFRESH)
        if isinstance(plan.verdict, Bypass):
            raise CommandError(f"it is not cached ({plan.verdict})")
        if not plan.verdict.upstream:
            raise CommandError("nothing goes upstream in this mode")
        if plan.key != one.metadata.get("cache_key", plan.key):
            # The caller's credential is in it, which no flow keeps.
            raise CommandError("its key cannot be made again; have its client ask with X-Cache-Mode: refresh")
        if reason := ctx.master.addons.get("clientplayback").check(one):
            raise CommandError(reason)
    for one in flows:
        one.backup()
        one.request.headers.update(one.metadata.get(forwarding.CONTROLS, {}) | _REFRESH)
        for name in ("cache-control", "x-cache-bypass"):
            one.request.headers.pop(name, None)
    ctx.master.commands.call("replay.client", flows)
    key = "" if parts.settings.upstream_api_key else "; without a key: set UPSTREAM_API_KEY if the upstream wants one"
    return f"asking upstream again for {len(flows)} flows{key}"


async def _plan(parts: Parts, one: http.HTTPFlow, mode: dict[str, str]) -> Plan:
    """The plan of a flow's request as its client sent it, in another mode."""
    request = flows.request_of(one, parts.settings)
    if formats.match(request.path) is None:
        raise CommandError(f"{one.request.path}: answers to it are not cached")
    headers = {
        name: value for name, value in request.headers.items() if name not in ("cache-control", "x-cache-bypass")
    }
    headers |= one.metadata.get(forwarding.CONTROLS, {}) | mode
    return await asyncio.to_thread(parts.cache.plan, replace(request, headers=headers))


def _model_calls(flows: Sequence[flow.Flow]) -> list[http.HTTPFlow]:
    calls = [one for one in flows if isinstance(one, http.HTTPFlow) and one.request.method == "POST"]
    if not calls:
        raise CommandError("choose flows that ask a model, such as @focus or @shown")
    return calls
