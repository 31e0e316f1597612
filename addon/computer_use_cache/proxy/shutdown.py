"""The end: what is running may finish, for a few seconds; what still runs then, or at a second signal, is cut."""

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
"""Container engines kill ten seconds after the first signal."""
_LOOK_SECONDS = 0.05
_CLOSE_SECONDS = 1.0


async def drain(connections: Connections) -> None:
    """Return when every running exchange is over and sent, or when they have had their time."""
    hurry = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(name, hurry.set)
    if number := _running(connections):
        logger.info("ending: %d exchanges may finish; a second signal cuts them", number)
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while _running(connections) and not hurry.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(hurry.wait(), _LOOK_SECONDS)
    except TimeoutError:
        pass
    if number := _running(connections):
        logger.warning("ending: %d exchanges are cut", number)
    await _close_clients()


async def _close_clients() -> None:
    """End the clients' connections; of each one that is left, the end of the event loop logs a traceback."""
    for client in _clients():
        if client.handler:
            client.handler.cancel("the proxy is ending")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            while _clients():
                await asyncio.sleep(_LOOK_SECONDS)


def _running(connections: Connections) -> int:
    """How many exchanges have not ended, and answers are not sent yet."""
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
