"""What lives as long as one set of settings does: the store, the core on it, and what uses both."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import StoreError
from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.exchange import Exchanges
from computer_use_cache.proxy.fast_path.lookup import FastLane
from computer_use_cache.proxy.loaded_flows import LoadedFlows
from computer_use_cache.proxy.local_routes import LocalRoutes
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from computer_use_cache.transfer import original_tool
from computer_use_cache.transfer.recordings import Summary

logger = logging.getLogger(__name__)


class Parts:
    """The parts of one running addon. `close` ends their use."""

    def __init__(self, settings: Settings, loopback: bool) -> None:
        """Opens the store; raises StoreError."""
        self.settings = settings
        self.loopback = loopback
        self.cache = Cache(settings, open_store(settings), loopback=loopback)
        self.ledger = Ledger(self.cache.store)
        self.gate = Gate(settings, loopback=loopback)
        self.exchanges = Exchanges(self.cache, self.ledger, self.write, self.study)
        self.lane = FastLane(self.cache, self.ledger, self.gate)
        self.local = LocalRoutes(self.cache, self.ledger, self.write, loopback=loopback)
        self.loaded = LoadedFlows(settings, self.cache.store, self.ledger, self.write, loopback=loopback)
        self._writer = ThreadPoolExecutor(1, "cache-writer")
        # One thread, too: each that computes takes the interpreter away from the event loop for some milliseconds.
        self._student = ThreadPoolExecutor(1, "cache-study")

    def import_once(self) -> Summary | None:
        """Take over what CACHE_DB_PATH names; blocks, and raises CacheError."""
        return original_tool.import_once(self.settings, self.cache.store, loopback=self.loopback, now=time.time())

    async def write(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Run what blocks in the one thread that writes."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *arguments)

    def write_now(self, function: Callable[..., Any], *arguments: object) -> Any:
        """`write`, but the event loop waits for it: for mitmproxy's commands, which cannot return a value later."""
        return self._writer.submit(function, *arguments).result()

    async def study(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Run what computes for a while, and nobody waits for at once, in the one thread for that."""
        return await asyncio.get_running_loop().run_in_executor(self._student, function, *arguments)

    def close(self) -> None:
        """Finish what is being written, keep the counts, let go of the store."""
        self.exchanges.close()
        self.loaded.close()
        self._student.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        try:
            self.ledger.flush(time.time())
            self.cache.store.close()
        except StoreError as error:
            logger.warning("not closed cleanly: %s", error)
