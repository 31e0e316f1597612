"""Flows that mitmproxy loads from a file (`mitmdump -nr`, mitmweb's "open file") fill the cache.

They only count as stored, since nobody asked for them here.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from mitmproxy import http

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.errors import SettingError
from computer_use_cache.models import Skipped
from computer_use_cache.proxy import captures
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.transfer.recordings import check_shared, importing_cache, keep

logger = logging.getLogger(__name__)


class LoadedFlows:
    """Puts loaded flows into the cache. `write` runs a blocking function in the thread that writes."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ledger: Ledger,
        write: Callable[..., Awaitable[Any]],
        *,
        loopback: bool,
    ) -> None:
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._write = write
        self._loopback = loopback
        self._kept = 0
        self._skipped = Counter[str]()

    async def take(self, flow: http.HTTPFlow) -> None:
        """Put the model calls of a loaded flow into the cache. A failure counts as one more skipped flow."""
        try:
            check_shared(self._settings, loopback=self._loopback)
            cache = importing_cache(self._settings, self._store, loopback=self._loopback)
            for call in captures.recordings_of(flow, self._settings):
                self._count(call if isinstance(call, Skipped) else await self._write(keep, cache, call, time.time()))
        except SettingError as error:
            self._count(Skipped(str(error)))
        except Exception as error:
            logger.exception("the cache failed; a loaded flow was not stored")
            self._count(Skipped(str(error)))

    def _count(self, outcome: object) -> None:
        if isinstance(outcome, Skipped):
            self._skipped[outcome.detail] += 1
        else:
            self._kept += 1
            self._ledger.stored(time.time())

    def close(self) -> None:
        """Log what became of the flows."""
        if self._kept or self._skipped:
            logger.info("loaded flows: %d stored, skipped %s", self._kept, dict(self._skipped) or "none")
