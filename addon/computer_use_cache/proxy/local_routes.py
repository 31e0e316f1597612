"""The routes that the proxy answers itself when a request is addressed to it."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import msgspec
from mitmproxy import http

from computer_use_cache import __version__
from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.accounting.prometheus import exposition
from computer_use_cache.accounting.statistics import Statistics
from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import RequestError, StoreError
from computer_use_cache.exchange.rendering import CACHE_NAME
from computer_use_cache.formats import FORMATS
from computer_use_cache.formats.base import Json
from computer_use_cache.models import Entry
from computer_use_cache.proxy import flows, guard, responses
from computer_use_cache.proxy.content_coding import body_of
from computer_use_cache.runs.finding import UnknownRun, find
from computer_use_cache.store.base import Choice
from computer_use_cache.transfer import jsonl
from computer_use_cache.units import counted

logger = logging.getLogger(__name__)

_ENTRIES = "/cache/entries"
_REJECT = "/reject"
_FIXED = {
    "/": "GET",
    "/healthz": "GET",
    "/readyz": "GET",
    "/cache/stats": "GET",
    "/stats": "GET",
    "/metrics": "GET",
    "/cache/clear": "POST",
    _ENTRIES: "GET",
}
_ENDPOINTS = (
    *(f"/v1{route}" for format in FORMATS for route in format.routes),
    "/v1beta/models/{model}:generateContent",
    "/v1/models",
    "/healthz",
    "/readyz",
    "/cache/stats",
    "/cache/clear",
    "/cache/entries",
    "/cache/entries/{key}/reject",
    "/metrics",
)
_MOST_ENTRIES = 1000
_CHOOSING = ("model", "namespace", "older_than", "run")
"""The conditions that select what to clear."""


def is_local(path: str) -> bool:
    """True if the proxy itself answers this path."""
    return path in _FIXED or path.startswith(_ENTRIES + "/")


def _methods(path: str) -> tuple[str, ...]:
    """The methods that a local path takes."""
    if (method := _FIXED.get(path)) is None:
        method = "POST" if path.endswith(_REJECT) else "DELETE"
    match method:
        case "GET":
            return ("GET", "HEAD")
        case "DELETE":
            return ("GET", "HEAD", "DELETE")
        case _:
            return (method,)


type InThread = Callable[..., Awaitable[Any]]


class LocalRoutes:
    """Answers of the proxy itself. `write` runs a blocking function in the thread that writes, `upkeep` in another one:
    its work may take minutes."""

    def __init__(self, cache: Cache, ledger: Ledger, write: InThread, upkeep: InThread, *, loopback: bool) -> None:
        self._cache = cache
        self._ledger = ledger
        self._write = write
        self._upkeep = upkeep
        self._loopback = loopback

    async def answer(self, flow: http.HTTPFlow) -> http.Response | None:
        """The answer to a local route, None for any other. Raises RequestError."""
        path, _ = flows.path_and_query(flow)
        if not is_local(path):
            return None
        if flow.request.method not in _methods(path):
            return self._not_allowed(flow, path)
        try:
            response = await self._answer(flow, path)
        except StoreError as error:
            raise RequestError(503, str(error), code="store_unavailable") from None
        if flow.request.method == "HEAD":
            length = response.headers["content-length"]
            response.content = b""
            response.headers["content-length"] = length
        return response

    def _not_allowed(self, flow: http.HTTPFlow, path: str) -> http.Response:
        allowed = ", ".join(_methods(path))
        error = RequestError(405, f"{flow.request.method} is not allowed on {path}; it takes {allowed}.")
        responses.refuse(flow, error, self._cache.settings)
        assert flow.response
        flow.response.headers["allow"] = allowed
        return flow.response

    async def _answer(self, flow: http.HTTPFlow, path: str) -> http.Response:
        upstream = str(self._cache.settings.upstream_base_url)
        match path:
            case "/":
                about = {"name": CACHE_NAME, "version": __version__, "status": "ok"}
                return responses.json_response(200, about | {"upstream_base_url": upstream, "endpoints": _ENDPOINTS})
            case "/healthz":
                if self._cache.settings.client_token and not flows.is_known_client(flow):
                    return responses.json_response(200, {"ok": True})
                health = {"ok": True, "cache": await self._health(), "upstream_base_url": upstream}
                return responses.json_response(200, health)
            case "/readyz":
                return await self._ready()
            case "/cache/stats" | "/stats":
                return responses.json_response(200, msgspec.to_builtins(await self._stats()))
            case "/metrics":
                text = exposition(await self._stats())
                return http.Response.make(200, text, {"content-type": "text/plain; version=0.0.4; charset=utf-8"})
        guard.check_admin(flows.lower_headers(flow.request.headers), self._cache.settings, loopback=self._loopback)
        if path == "/cache/clear":
            return await self._clear(flow)
        if path == _ENTRIES:
            return await self._list(flow)
        return await self._entry(flow.request.method, path.removeprefix(_ENTRIES + "/"))

    async def _stats(self) -> Statistics:
        found: Statistics = await self._write(self._ledger.statistics, self._cache.settings, time.time())
        return found

    async def _health(self) -> Json:
        """The statistics, or why there are none: a proxy serves even without its store."""
        try:
            return msgspec.to_builtins(await self._stats())  # type: ignore[no-any-return]
        except StoreError as error:
            return {"error": str(error)}

    async def _ready(self) -> http.Response:
        try:
            await self._write(self._cache.store.probe)
        except StoreError as error:
            return responses.json_response(503, {"ok": False, "error": str(error)})
        return responses.json_response(200, {"ok": True})

    async def _clear(self, flow: http.HTTPFlow) -> http.Response:
        wanted = _wanted(flow)
        if name := wanted.pop("run", None):
            return await self._clear_run(name, wanted)
        older_than = wanted.pop("older_than", None)
        before = None if older_than is None else time.time() - older_than
        chosen = Choice(**wanted, before=before)
        deleted = await self._upkeep(self._cache.store.clear, None if chosen == Choice() else chosen)
        if chosen == Choice():
            self._cache.samples.forget()  # the pytest plugin clears the store between two cassettes
        logger.info("cleared %s", counted(deleted, "entry", "entries"))
        return responses.json_response(200, {"ok": True, "deleted": deleted})

    async def _clear_run(self, name: str, others: dict[str, Any]) -> http.Response:
        if others:
            raise RequestError(400, "run: it names one run; leave the other conditions out.", param="run")
        try:
            run = await self._write(find, self._cache.store.run_log, name)
        except UnknownRun as error:
            raise RequestError(404, f"{error}.", param="run") from None
        await self._write(self._cache.store.run_log.delete_run, run.id)
        return responses.json_response(200, {"ok": True, "deleted": 1, "run": run.id})

    async def _list(self, flow: http.HTTPFlow) -> http.Response:
        limit = flow.request.query.get("limit", "100")
        if not re.fullmatch("[0-9]{1,9}", limit) or not 1 <= int(limit) <= _MOST_ENTRIES:
            raise RequestError(400, f"limit: {limit!r} is not a number from 1 to {_MOST_ENTRIES}.", param="limit")
        after = flow.request.query.get("after", "")
        found = await self._write(self._page, int(limit), after)
        path = f"{_ENTRIES}?limit={limit}&after={found[-2].key}" if len(found) > int(limit) else None
        return responses.json_response(
            200, {"entries": [_described(entry) for entry in found[: int(limit)]], "next": path}
        )

    def _page(self, limit: int, after: str) -> list[Entry]:
        """The entries of the page, and one more if there is a next page."""
        entries = self._cache.store.entries()
        if after and not any(entry.key == after for entry in entries):
            raise RequestError(404, f"There is no entry {after!r} to continue after.", param="after")
        return list(islice(entries, limit + 1))

    async def _entry(self, method: str, key: str) -> http.Response:
        if method in ("DELETE", "POST"):
            key = key.removesuffix(_REJECT)
            if await self._write(self._cache.store.delete, key):
                logger.info("%s %s", key[:8], "deleted" if method == "DELETE" else "rejected")
                return responses.json_response(200, {"ok": True, "deleted": 1})
        elif entry := await self._write(self._cache.store.get, key):
            described = _described(entry) | {"headers": dict(entry.headers)} | jsonl.text_or_base64("body", entry.body)
            return responses.json_response(200, described)
        raise RequestError(404, f"There is no entry {key!r}.", code="not_found")


def _described(entry: Entry) -> Json:
    return {
        "key": entry.key,
        "format": entry.format,
        "shape": entry.shape,
        "model": entry.model,
        "namespace": entry.namespace,
        "bytes": len(entry.body),
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
        "seconds": entry.seconds,
    }


def _wanted(flow: http.HTTPFlow) -> dict[str, Any]:
    """What to clear, from the JSON body or the query. Raises RequestError for anything it does not understand, because
    clearing everything instead would lose what the caller wants to keep."""
    wanted: dict[str, Any] = dict(flow.request.query)
    if sent := body_of(flow.request):
        try:
            body = json.loads(sent)
        except (ValueError, RecursionError):
            raise RequestError(400, "The request body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise RequestError(400, "The request body must be a JSON object.")
        wanted |= body
    for name, value in wanted.items():
        if name not in _CHOOSING:
            raise RequestError(400, f"{name}: only {', '.join(_CHOOSING)} choose what to clear.", param=name)
        if name == "older_than":
            wanted[name] = _seconds(value)
        elif not isinstance(value, str):
            raise RequestError(400, f"{name}: give text.", param=name)
    return wanted


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RequestError(400, "older_than: give a number of seconds, 0 or more.", param="older_than")
    return seconds
