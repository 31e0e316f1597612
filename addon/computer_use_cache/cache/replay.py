"""Replays an entry in the shape that the client asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import dump, load_object
from computer_use_cache.models import Entry, Event, Shape

logger = logging.getLogger(__name__)

_QUICKLY_CONVERTED_BYTES = 16 * 1024


def replay(plan: Plan, entry: Entry) -> list[bytes] | None:
    """The answer in the shape that the plan asks for, one piece per event of a stream; None if the recording cannot
    give it (usage is asked for and was not recorded)."""
    try:
        return _reshape(plan, entry)
    except FormatError as error:
        logger.warning("entry %s cannot be replayed as %s: %s", entry.key[:8], plan.shape, error)
        return None


def replays_quickly(plan: Plan, entry: Entry) -> bool:
    """Whether `replay` is quick enough for the event loop. An answer recorded in the shape that is asked for always
    is."""
    if len(entry.body) <= _QUICKLY_CONVERTED_BYTES:
        return True
    if entry.shape is plan.shape is Shape.JSON:
        return not plan.format.adapts_answer(entry.body, plan.body)
    return (entry.shape, entry.with_usage) == (plan.shape, plan.with_usage)


def _reshape(plan: Plan, entry: Entry) -> list[bytes] | None:
    format = plan.format
    if entry.shape is Shape.JSON:
        if plan.shape is Shape.JSON:
            return [format.adapt_answer(entry.body, plan.body)]
        return format.join_stream(format.explode(load_object(entry.body), with_usage=plan.with_usage), plan.shape)
    if (entry.shape, entry.with_usage) == (plan.shape, plan.with_usage):
        return [entry.body]
    recorded = format.split_stream(entry.body, entry.shape)
    if plan.shape is Shape.JSON:
        return [dump(format.assemble(recorded))]
    events: Sequence[Event] | None = recorded
    if entry.with_usage is not plan.with_usage:
        events = format.reshape_events(recorded, with_usage=plan.with_usage)
    return None if events is None else format.join_stream(events, plan.shape)
