"""Commands for mitmproxy's prompt and mitmweb's command bar.

`cache.stats` and `cache.explain` return their text, for which mitmproxy's event loop has to wait: a command that
returns before its work is done cannot return a value. The others run in the background and report in the event log.
"""

from __future__ import annotations

import asyncio
import logging
import pathlib
import time
from collections.abc import Awaitable, Callable, Sequence

from mitmproxy import command, ctx, flow, http, types
from mitmproxy.exceptions import CommandError
from mitmproxy.log import ALERT
from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.accounting.statistics import Statistics
from computer_use_cache.cache import rebound
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.errors import CacheError
from computer_use_cache.models import Bypass
from computer_use_cache.proxy import flows, forwarding
from computer_use_cache.proxy.session import Session
from computer_use_cache.store.base import Choice
from computer_use_cache.transfer import jsonl
from computer_use_cache.units import counted

logger = logging.getLogger(__name__)

_REFRESH, _READ = {"x-cache-mode": "refresh"}, {"x-cache-mode": "readonly"}
_MOST_EXPLAINED = 20
"""Each flow takes some milliseconds, during which no request is answered."""


class Commands:
    """mitmproxy addon that provides the commands. `session` returns the running cache, None if it did not start."""

    name = "cache_commands"

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session
        self._running: set[asyncio.Task[None]] = set()

    @command.command("cache.stats")
    def stats(self) -> str:
        """Return what the cache holds and how often it answered."""
        session = self._needed()
        try:
            return _stats(session.write_now(session.ledger.statistics, session.settings, time.time()))
        except CacheError as error:
            raise CommandError(str(error)) from None

    @command.command("cache.clear")
    def clear(self) -> None:
        """Remove every entry from the cache."""
        self._begin(_clear(self._needed()))

    @command.command("cache.evict")
    def evict(self, flows: Sequence[flow.Flow]) -> None:
        """Remove the entries that answer these flows."""
        self._begin(_evict(self._needed(), _model_calls(flows)))

    @command.command("cache.reject")
    def reject(self, flows: Sequence[flow.Flow]) -> None:
        """Take back the answers to these flows: the next call asks upstream."""
        self._begin(_reject(self._needed(), _model_calls(flows)))

    @command.command("cache.refresh")
    def refresh(self, flows: Sequence[flow.Flow]) -> None:
        """Send the requests of these flows upstream again, and store the new answers."""
        self._begin(_refresh(self._needed(), _model_calls(flows)))

    @command.command("cache.explain")
    def explain(self, flows: Sequence[flow.Flow]) -> str:
        """Return the stored request nearest to each of these flows' requests, and where the two differ."""
        session, calls = self._needed(), _model_calls(flows)
        if len(calls) > _MOST_EXPLAINED:
            raise CommandError(f"{len(calls)} flows are too many; choose at most {_MOST_EXPLAINED}")
        try:
            return "\n".join(_explain(session, one) for one in calls)
        except CacheError as error:
            raise CommandError(str(error)) from None

    @command.command("cache.export")
    def export(self, path: types.Path) -> None:
        """Write every entry to a file as JSON lines, for `computer-use-cache import`."""
        self._begin(_export(self._needed(), pathlib.Path(path)))

    def _needed(self) -> Session:
        session = self._session()
        if session is None:
            raise CommandError("the cache is not running; see the event log")
        return session

    def _begin(self, work: Awaitable[str]) -> None:
        task = asyncio.get_running_loop().create_task(_report(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _report(work: Awaitable[str]) -> None:
    try:
        logger.log(ALERT, "%s", await work)
    except (CacheError, CommandError) as error:
        logger.error("%s", error)
    except Exception:
        logger.exception("the command failed")


def _stats(found: Statistics) -> str:
    counts = (
        f"entries {found.entries}, hits {found.hits}, misses {found.misses}, stale {found.stale}, "
        f"coalesced {found.coalesced}, stored {found.stored}, bypasses {sum(found.bypasses.values())}"
    )
    return f"{counts}, hit rate {found.hit_rate:.0%}, {found.bytes:,} bytes"


def _entries(number: int) -> str:
    return counted(number, "entry", "entries")


async def _clear(session: Session) -> str:
    return f"cleared {_entries(await session.upkeep(session.cache.store.clear))}"


async def _export(session: Session, path: pathlib.Path) -> str:
    content = jsonl.lines(session.cache.store, Choice(), time.time())
    try:
        count = await asyncio.to_thread(jsonl.write, path, content)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    return f"exported {_entries(count)} to {path}"


async def _evict(session: Session, flows: Sequence[http.HTTPFlow]) -> str:
    return f"evicted {await _removed(session, flows)}"


async def _reject(session: Session, flows: Sequence[http.HTTPFlow]) -> str:
    return f"rejected {await _removed(session, flows)}; the next call asks upstream"


async def _removed(session: Session, flows: Sequence[http.HTTPFlow]) -> str:
    keys = {key for flow in flows if (key := flow.metadata.get("cache_key"))}
    removed = [key for key in sorted(keys) if await session.write(session.cache.store.delete, key)]
    return f"{len(removed)} of {_entries(len(keys))}"


def _explain(session: Session, one: http.HTTPFlow) -> str:
    plan = rebound.prepare(session.cache, _plan(session, one, _READ))
    if isinstance(plan.verdict, Bypass):
        return f"BYPASS {plan.verdict}"
    found = near_miss.study(session.cache, plan)
    if found.near is None:
        return f"{plan.key[:8]}: no similar request is stored"
    lines = [f"{plan.key[:8]} is near {found.near.key[:8]} and differs at"]
    for place in found.near.differences:
        lines.append(f"  {place}: {_side(place.asked)}, stored {_side(place.recorded)}")
    lines.append(f"  a hit with {found.near.cure}" if found.near.cure else f"  no cure: {found.near.cure.reason}")
    return "\n".join(lines)


def _side(text: str | None) -> str:
    return "nothing" if text is None else text


async def _refresh(session: Session, flows: Sequence[http.HTTPFlow]) -> str:
    for one in flows:
        plan = await asyncio.to_thread(_plan, session, one, _REFRESH)
        if isinstance(plan.verdict, Bypass):
            raise CommandError(f"this request is not cached ({plan.verdict})")
        if not plan.verdict.upstream:
            raise CommandError("nothing goes upstream in this mode")
        if plan.key != one.metadata.get("cache_key", plan.key):
            # The key includes a digest of the caller's credential, which flows do not keep.
            raise CommandError("cannot compute its key again; repeat the request with X-Cache-Mode: refresh instead")
        if reason := ctx.master.addons.get("clientplayback").check(one):
            raise CommandError(reason)
    for one in flows:
        one.backup()
        one.request.headers.update(one.metadata.get(forwarding.CONTROLS, {}) | _REFRESH)
        for name in ("cache-control", "x-cache-bypass"):
            one.request.headers.pop(name, None)
    ctx.master.commands.call("replay.client", flows)
    key = "" if session.settings.upstream_api_key else "; without a key: set UPSTREAM_API_KEY if the upstream needs one"
    return f"sending {counted(len(flows), 'request', 'requests')} upstream again{key}"


def _plan(session: Session, one: http.HTTPFlow, mode: dict[str, str]) -> Plan:
    """The plan for a flow's request as its client sent it, but in another mode."""
    request = flows.request_of(one, session.settings)
    if formats.match(request.path) is None:
        raise CommandError(f"{one.request.path} is not a cached route")
    headers = {
        name: value for name, value in request.headers.items() if name not in ("cache-control", "x-cache-bypass")
    }
    headers |= one.metadata.get(forwarding.CONTROLS, {}) | mode
    return session.cache.plan(replace(request, headers=headers))


def _model_calls(flows: Sequence[flow.Flow]) -> list[http.HTTPFlow]:
    calls = [one for one in flows if isinstance(one, http.HTTPFlow) and one.request.method == "POST"]
    if not calls:
        raise CommandError("choose flows with model calls, such as @focus or @shown")
    return calls
