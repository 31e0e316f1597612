"""Opens and joins batches off the event loop. A batch that cannot be opened goes upstream as a whole."""

from __future__ import annotations

import logging

from computer_use_cache.cache.batches import Batch, complete, open_batch
from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.exchange.decisions import Fail, Joined
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.formats.embeddings import Embeddings
from computer_use_cache.models import Bypass, Response, Skip, Skipped

logger = logging.getLogger(__name__)


async def opened(shared: Shared, plan: Plan) -> Batch | None:
    """The batch that a planned request asks for, None if it is not one."""
    if isinstance(plan.verdict, Bypass) or not isinstance(plan.format, Embeddings):
        return None
    try:
        return await shared.run.read(open_batch, shared.cache, plan, shared.run.now())
    except (StoreError, FormatError) as error:
        logger.warning("the whole batch goes upstream: %s", error)
        return None


async def joined(shared: Shared, batch: Batch, response: Response) -> Joined | Fail:
    """The answer to a batch, joined from the upstream's (200) and the stored ones."""
    try:
        body, parts = await shared.run.read(complete, shared.cache, batch, response, shared.run.now())
    except Exception as error:
        if not isinstance(error, FormatError):
            if batch.is_whole:
                raise
            logger.exception("the cache failed; a batch cannot be answered, because only part of it was sent upstream")
        return Fail(Skipped(str(error), Skip.BATCH))
    return Joined(body, parts)
