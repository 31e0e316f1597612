"""Replays an entry in the shape that the client asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import usage
from computer_use_cache.formats.base import dump, load_object
from computer_use_cache.models import Entry, Event, Shape
from computer_use_cache.setting_values import HitUsage

logger = logging.getLogger(__name__)

_QUICKLY_CONVERTED_BYTES = 16 * 1024


def replay(plan: Plan, entry: Entry, hit_usage: HitUsage = HitUsage.RECORDED) -> list[bytes] | None:
    """The pieces of the answer in the shape that the plan wants, one per event of a stream.

    None if the recording cannot give it: usage is asked for and was not recorded, or embeddings came in a form that
    their request had not asked for.
    """
    try:
        pieces = _reshape(plan, entry)
        if pieces is not None and hit_usage is HitUsage.ZERO:
            return usage.zeroed(plan.format, b"".join(pieces), plan.shape)
        return pieces
    except FormatError as error:
        logger.warning("entry %s cannot be replayed as %s: %s", entry.key[:8], plan.shape, error)
        return None


def replays_quickly(plan: Plan, entry: Entry, hit_usage: HitUsage = HitUsage.RECORDED) -> bool:
    """Whether `replay` may run on the event loop; if not, run it in a thread. An answer that is replayed in the shape
    in which it was recorded always may."""
    if len(entry.body) <= _QUICKLY_CONVERTED_BYTES:
        return True
    if hit_usage is HitUsage.ZERO:
        return False
    if entry.shape is plan.shape is Shape.JSON:
        return not plan.format.adapts_answer(entry.body, plan.body)
    return (entry.shape, entry.with_usage) == (plan.shape, plan.with_usage)


def _reshape(plan: Plan, entry: Entry) -> list[bytes] | None:
    format = plan.format
    if entry.shape is Shape.JSON:
        if plan.shape is Shape.JSON:
            return [format.adapt_answer(entry.body, plan.body, entry.asked_form)]
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
