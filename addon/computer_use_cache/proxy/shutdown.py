"""Shuts down: running requests may finish within a few seconds, or until a second signal; the rest are dropped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

from mitmproxy import ctx
from mitmproxy.proxy.server import ConnectionIO

from computer_use_cache.proxy.connections import Connections

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 8.0
"""Container engines kill a process ten seconds after the first signal."""
_LOOK_SECONDS = 0.05
_CLOSE_SECONDS = 1.0


async def drain(connections: Connections) -> None:
    """Wait until every running request is answered and sent, or their time is up."""
    hurry = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(name, hurry.set)
    if number := _running(connections):
        logger.info("shutting down: %d still running; a second signal drops them", number)
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while _running(connections) and not hurry.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(hurry.wait(), _LOOK_SECONDS)
    except TimeoutError:
        pass
    if number := _running(connections):
        logger.warning("shutting down: still running and dropped: %d", number)
    await _close_clients()


async def _close_clients() -> None:
    """Close the clients' connections: the event loop logs a traceback for each one that is still open when it ends."""
    for client in _clients():
        if client.handler:
            client.handler.cancel("the proxy is ending")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            while _clients():
                await asyncio.sleep(_LOOK_SECONDS)


def _running(connections: Connections) -> int:
    """How many requests have not been answered, or their answers not been sent."""
    writers = [client.writer for client in _clients()]
    unsent = [
        writer
        for writer in writers
        if isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size()
    ]
    return connections.unanswered + len(unsent)


def _clients() -> list[ConnectionIO]:
    handlers = ctx.master.addons.get("proxyserver").connections.values()
    return [client for handler in handlers if (client := handler.transports.get(handler.client))]
