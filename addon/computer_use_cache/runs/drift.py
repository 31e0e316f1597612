"""Where a replay left the recorded path: the calls that no recording answers, and how the nearest recorded request
differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.formats.base import Json
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call
from computer_use_cache.units import counted


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a replay left the recorded path.

    `step` is counted from 1. `reason` says what happened. `near` is the key of the most similar recorded request,
    if there is one. The two differ at `place`: the recorded one has `recorded` there and the new one `present`, None if
    it has no value. `settings` would have made the call a hit.
    """

    step: int
    reason: str
    near: str = ""
    place: str = ""
    recorded: str | None = None
    present: str | None = None
    settings: dict[str, str] = {}


def answered(calls: Sequence[Call]) -> list[Call]:
    """The calls whose answer is in the store: the steps that a replay takes again."""
    return [call for call in calls if call.key]


def drifts(recorded: Sequence[Call], replayed: Sequence[Call], misses: Sequence[Json]) -> Iterator[Drift]:
    """The drifts of a replay. `misses` are those that were logged meanwhile (`miss_log.near_misses`)."""
    for step, call in enumerate(recorded, 1):
        if call.outcome is Outcome.BYPASS:
            yield Drift(step=step, reason=f"it bypassed the cache ({call.reason}), so a replay refuses it")
    seen: set[str] = set()
    known = {miss["key"]: miss for miss in misses}
    for step, call in enumerate(replayed, 1):
        if call.outcome is not Outcome.HIT and call.asked not in seen:
            seen.add(call.asked)  # an agent may ask again, and is refused again
            yield _of_call(step, call, known.get(call.asked))
    asked, again = len(answered(recorded)), len(answered(replayed))
    if not seen and asked != again:
        more = f"the replay {'ended after' if again < asked else 'made'} {counted(again, 'call', 'calls')}"
        yield Drift(step=min(asked, again) + 1, reason=f"{more}, the recorded run made {asked}")


def _of_call(step: int, call: Call, miss: Json | None) -> Drift:
    if miss is None:
        return Drift(step=step, reason=call.reason, near=call.near_key, place=call.near_place)
    first = Difference(**miss["differences"][0])
    return Drift(
        step=step,
        reason=call.reason,
        near=miss["near"],
        place=str(first),
        recorded=first.recorded,
        present=first.asked,
        settings=miss["settings"],
    )
