"""Replays an entry in the shape that the client asked for, with the values and the credentials of its request."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import usage
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.models import Entry, Event, Shape
from computer_use_cache.rebinding import Cause, Moves, Refusal, rebind, reveal_answer
from computer_use_cache.rebinding.kinds import Kinds
from computer_use_cache.setting_values import HitUsage

logger = logging.getLogger(__name__)

QUICKLY_CONVERTED_BYTES = 16 * 1024
NO_MOVES = Moves(Kinds())


@dataclass(frozen=True, slots=True)
class Replayed:
    """The `pieces` of a body, and how many values of each kind were replaced in it."""

    pieces: list[bytes]
    counts: Mapping[str, int] = field(default_factory=dict)


def replay(plan: Plan, entry: Entry, hit_usage: HitUsage = HitUsage.RECORDED) -> list[bytes] | None:
    """The pieces of the answer in the shape that the plan wants, one per event of a stream.

    None if the recording lacks something: usage is asked for and was not recorded, or embeddings were recorded in a
    form that their request had not asked for.
    """
    if hit_usage is HitUsage.RECORDED and not plan.secrets and _is_as_wanted(plan, entry):
        return [entry.body]  # as below, in a fifth of the time: nearly every hit
    replayed = replay_rebound(plan, entry, NO_MOVES, b"", hit_usage)
    return replayed.pieces if isinstance(replayed, Replayed) else None


def replay_rebound(
    plan: Plan, entry: Entry, moves: Moves, text: bytes, hit_usage: HitUsage = HitUsage.RECORDED
) -> Replayed | Refusal:
    """The same, with the present values in place of the recorded ones. `text` is all text of the present request."""
    try:
        replayed = _replayed(plan, entry, moves, text)
        if isinstance(replayed, Replayed) and hit_usage is HitUsage.ZERO:
            return Replayed(usage.zeroed(plan.format, b"".join(replayed.pieces), plan.shape), replayed.counts)
        return replayed
    except FormatError as error:
        logger.warning("entry %s cannot be replayed as %s: %s", entry.key[:8], plan.shape, error)
        return Refusal(Cause.MALFORMED)


def replays_quickly(plan: Plan, entry: Entry, hit_usage: HitUsage = HitUsage.RECORDED) -> bool:
    """Whether `replay` may run on the event loop rather than in a thread. It always may if the recorded bytes are
    served unchanged."""
    if len(entry.body) <= QUICKLY_CONVERTED_BYTES:
        return True
    return not plan.secrets and hit_usage is not HitUsage.ZERO and _is_as_wanted(plan, entry)


def _replayed(plan: Plan, entry: Entry, moves: Moves, text: bytes) -> Replayed | Refusal:
    format, with_usage = plan.format, entry.with_usage
    if not moves and not plan.secrets and _is_as_wanted(plan, entry):
        return Replayed([entry.body])
    if entry.shape is plan.shape is Shape.JSON and not format.answers_in_text:
        return Replayed([format.adapt_answer(entry.body, plan.body, entry.asked_form)])
    recorded = _parsed(plan, entry)
    rebound = rebind(format, recorded, moves, text, with_usage=with_usage)
    if isinstance(rebound, Refusal):
        return rebound
    revealed = reveal_answer(format, rebound.answer, plan.secrets, with_usage=with_usage)
    if isinstance(revealed, Refusal):
        return revealed
    if revealed.answer is recorded and _is_as_wanted(plan, entry):
        return Replayed([entry.body], rebound.counts)
    pieces = _shaped(plan, revealed.answer, with_usage=with_usage)
    return Refusal(Cause.MALFORMED, "usage was not recorded") if pieces is None else Replayed(pieces, rebound.counts)


def _is_as_wanted(plan: Plan, entry: Entry) -> bool:
    """Whether the recorded bytes are what the plan asks for."""
    if entry.shape is plan.shape is Shape.JSON:
        return not plan.format.adapts_answer(entry.body, plan.body)
    return (entry.shape, entry.with_usage) == (plan.shape, plan.with_usage)


def _parsed(plan: Plan, entry: Entry) -> Json | Sequence[Event]:
    if entry.shape is Shape.JSON:
        return load_object(entry.body)
    return plan.format.split_stream(entry.body, entry.shape)


def _shaped(plan: Plan, answer: Json | Sequence[Event], *, with_usage: bool) -> list[bytes] | None:
    format = plan.format
    if isinstance(answer, dict):
        if plan.shape is Shape.JSON:
            return [dump(answer)]
        return format.join_stream(format.explode(answer, with_usage=plan.with_usage), plan.shape)
    if plan.shape is Shape.JSON:
        return [dump(format.assemble(answer))]
    events: Sequence[Event] | None = answer
    if with_usage is not plan.with_usage:
        events = format.reshape_events(answer, with_usage=plan.with_usage)
    return None if events is None else format.join_stream(events, plan.shape)
