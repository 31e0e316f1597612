"""Everything that lives as long as one set of settings: the store, the core on top of it, and what uses the core."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.accounting.tracing import open_spans
from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import StoreError
from computer_use_cache.exchange import forking
from computer_use_cache.exchange.forking import Forking
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.exchange.storing_process import StoringProcess
from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.exchanges import FlowExchanges
from computer_use_cache.proxy.fast_path.lookup import FastPath
from computer_use_cache.proxy.helper_routes import HelperRoutes
from computer_use_cache.proxy.loaded_flows import LoadedFlows
from computer_use_cache.proxy.local_routes import LocalRoutes
from computer_use_cache.proxy.unseen import Unseen
from computer_use_cache.run_models import CALL_LINES, GIVEN_ANSWER, OWN_RUN, LineStyle
from computer_use_cache.runs.call_log import CallLog
from computer_use_cache.setting_values import cores
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.store.opening import open_store
from computer_use_cache.transfer import original_tool
from computer_use_cache.transfer.recordings import Summary

logger = logging.getLogger(__name__)


class Session:
    """The running cache behind one set of settings. `close` ends it."""

    def __init__(self, settings: Settings, options: Mapping[str, str], *, loopback: bool) -> None:
        """Opens the store; raises StoreError. `options` are the texts that the settings were loaded from, beside the
        environment."""
        self.settings = settings
        self.loopback = loopback
        self.cache = Cache(settings, open_store(settings), loopback=loopback)
        self.ledger = Ledger(self.cache.store)
        self.gate = Gate(settings, loopback=loopback)
        self.unseen = Unseen(settings, self.ledger)
        run = Runners(asyncio.to_thread, self.write, self.study, time.time)
        self._spans = open_spans(os.environ)
        self._storing_process = StoringProcess(options, loopback=loopback) if _has_core_for_storing(settings) else None
        self.shared = Shared(
            self.cache,
            self.ledger,
            run,
            own_run=os.environ.get(OWN_RUN, ""),
            spans=self._spans,
            call_log=_call_log(self.cache.store),
            storing_process=self._storing_process,
        )
        self.exchanges = FlowExchanges(self.shared)
        self.exchanges.forking = _forking(self.cache.store)
        self.helpers = HelperRoutes(self.shared)
        self.fast_path = FastPath(self.shared, self.gate)
        self.local = LocalRoutes(self.cache, self.ledger, self.write, self.upkeep, loopback=loopback)
        self.loaded = LoadedFlows(settings, self.cache.store, self.ledger, self.write, loopback=loopback)
        self._writer = ThreadPoolExecutor(1, "cache-writer")
        # A thread of its own, so that no answer waits to be stored until a large store is cleared.
        self._keeper = ThreadPoolExecutor(1, "cache-upkeep")
        # One thread is enough: each thread that computes takes the interpreter from the event loop for milliseconds.
        self._student = ThreadPoolExecutor(1, "cache-study")

    def import_once(self) -> Summary | None:
        """Import the store that CACHE_DB_PATH names. Blocks; raises CacheError."""
        return original_tool.import_once(self.settings, self.cache.store, loopback=self.loopback, now=time.time())

    async def write[**P, R](self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """Run a blocking function in the thread that writes, after what the storing process has been given."""
        if self._storing_process:
            await self._storing_process.caught_up()
        return await _run(self._writer, partial(function, *arguments, **named))

    def write_now[**P, R](self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """`write` for mitmproxy's commands, which cannot return a value later: the event loop waits for it."""
        return self._writer.submit(partial(function, *arguments, **named)).result()

    async def upkeep[**P, R](self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """Run work that may take minutes, such as clearing the store, in a thread of its own."""
        return await _run(self._keeper, partial(function, *arguments, **named))

    async def study[**P, R](self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """Run a long computation that nobody waits for at once, in a thread of its own."""
        return await _run(self._student, partial(function, *arguments, **named))

    def close(self) -> None:
        """Finish pending writes, save the counts, interrupt upkeep and close the store."""
        self.exchanges.close()
        self.loaded.close()
        self.shared.studies.close()
        if self._storing_process:
            self._storing_process.close()
        self._student.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        try:
            self.shared.flush(time.time(), is_last=True)  # first, because this process may be killed soon
        except StoreError as error:
            logger.warning("the last counts were not saved: %s", error)
        self.cache.store.interrupt()
        self._keeper.shutdown(wait=True)
        try:
            self.cache.store.close()
        except StoreError as error:
            logger.warning("the store was not closed cleanly: %s", error)
        if self._spans:
            self._spans.close()


def _has_core_for_storing(settings: Settings) -> bool:
    """Whether answers are stored in a process of their own while the proxy is busy: not with several workers, which use
    the cores anyway, nor in a shared store, whose copies in this process would not learn of it. A socket can be handed
    to a process on POSIX only, and mitmproxy's standalone program is no Python that could run one."""
    is_possible = os.name == "posix" and not hasattr(sys, "frozen")
    return is_possible and settings.workers == 1 and settings.store_url == "disk" and cores() > 1


def _forking(store: Store) -> Forking | None:
    """What this proxy's only client does differently, if it is a forked run. Raises StoreError."""
    run, answer = os.environ.get(OWN_RUN), os.environ.get(GIVEN_ANSWER)
    if not run:
        return None
    return forking.of_run(store.run_log.run(run), Path(answer).read_text("utf-8") if answer else "")


def _call_log(store: Store) -> CallLog | None:
    """The log of calls that this process was started with. It goes where standard output went at its start, with
    escapes for letters that its encoding lacks."""
    style, out = os.environ.get(CALL_LINES), sys.__stdout__
    if not style or out is None:
        return None
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    return CallLog(store, LineStyle(style), out)


async def _run[R](thread: ThreadPoolExecutor, work: Callable[[], R]) -> R:
    return await asyncio.get_running_loop().run_in_executor(thread, work)
