"""What the addon does in the background: import an older store once, then the same work again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from computer_use_cache.errors import CacheError
from computer_use_cache.exchange.failure_log import FailureLog
from computer_use_cache.proxy.session import Session
from computer_use_cache.units import counted

logger = logging.getLogger(__name__)


async def import_once(session: Session) -> None:
    """Import the store that CACHE_DB_PATH names, unless that has been done."""
    try:
        done = await session.write(session.import_once)
    except CacheError as error:
        logger.warning("CACHE_DB_PATH was not imported: %s", error)
    else:
        if done:
            imported = counted(done.kept, "entry", "entries")
            logger.info("imported %s of CACHE_DB_PATH, skipped %s", imported, done.skipped or "none")


async def repeat(seconds: float, work: Callable[[], Awaitable[None]], failures: FailureLog) -> None:
    """Do the work again and again, with pauses of this length, until cancelled. Its failures are logged."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:
            failures.failed(error)
        else:
            failures.worked()
