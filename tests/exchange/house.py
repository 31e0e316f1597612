"""The core of one proxy, for tests without a proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.accounting.statistics import Statistics
from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Forward
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.result import Result
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.flights.flight import Stream
from computer_use_cache.models import Request, Response, Shape
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from support import chat_events, chat_request, completion

UPSTREAM = "https://api.example/v1"
START = 1_700_000_000.0
GOOD = Response(200, {"content-type": "application/json"}, json.dumps(completion("pong")).encode(), 2.0)
EVENTS = chat_events("po", "ng")
STREAM = Stream(Shape.SSE, False, (("content-type", "text/event-stream"),))


def failure(status: int) -> Response:
    return Response(status, {"content-type": "application/json"}, b'{"error": {"message": "no"}}', 1.0)


class House:
    """One proxy's core, with a clock that a test sets. It counts the requests it has begun."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.now = START
        self.begun = 0
        self.store = DiskStore(folder, 2**24)
        self.settings = Settings.load({"UPSTREAM_BASE_URL": UPSTREAM, "CACHE_DIR": str(folder)} | environment)
        self.cache = Cache(self.settings, self.store, loopback=True)
        self._writer = ThreadPoolExecutor(1)
        run = Runners(asyncio.to_thread, self.write, asyncio.to_thread, lambda: self.now)
        self.shared = Shared(self.cache, Ledger(self.store), run)

    async def write[**P, R](self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """Run a function in the only thread that writes."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, partial(function, *arguments, **named))

    def asks(self, headers: dict[str, str] | None = None, *, is_here: bool = True, **fields: Any) -> Exchange:
        """A chat request."""
        return self.begins("/chat/completions", chat_request(**fields), headers or {}, is_here=is_here)

    def embeds(self, *texts: str) -> Exchange:
        """A batch of embeddings."""
        return self.begins("/embeddings", {"model": "e", "input": list(texts)}, {})

    def begins(self, path: str, body: Any, headers: dict[str, str], *, is_here: bool = True) -> Exchange:
        self.begun += 1
        plan = self.cache.plan(Request(UPSTREAM, path, (), headers, json.dumps(body).encode()))
        return Exchange(self.shared, plan, lambda: is_here)

    async def answered(self, exchange: Exchange, response: Response = GOOD) -> Result:
        """The result of a request that goes upstream and gets this answer."""
        assert isinstance(await exchange.resolve(), Forward)
        return exchange.settle(await exchange.on_response(response), self.now)

    async def lived(self, exchange: Exchange, response: Response = GOOD, *, seconds: float = 0.0) -> Result:
        """The result of a request after `seconds`; it gets this answer if it goes upstream."""
        answer = await exchange.resolve()
        self.now += seconds
        ending = await exchange.on_response(response) if isinstance(answer, Forward) else answer
        return exchange.settle(ending, self.now)

    async def resolved(self, exchange: Exchange) -> Result:
        """The result of a request that is answered without a call of its own."""
        answer = await exchange.resolve()
        assert not isinstance(answer, Forward)
        return exchange.settle(answer, self.now)

    def counted(self) -> Statistics:
        return self.shared.ledger.statistics(self.settings, self.now)


def planned(house: House, headers: dict[str, str] | None = None, **fields: Any) -> Plan:
    """The plan of a chat request, ready to be stored."""
    body = json.dumps(chat_request(**fields)).encode()
    return rebound.prepare(
        house.cache, house.cache.plan(Request(UPSTREAM, "/chat/completions", (), headers or {}, body))
    )
