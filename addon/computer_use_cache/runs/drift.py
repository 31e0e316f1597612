"""Where a replayed run left the path of the recorded one: the calls that nothing recorded answers, and where the
nearest recorded request differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.formats.base import Json
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One place where the two runs part.

    `step` is counted from 1. `reason` says what happened. If a recorded request is near, it is that
    of the entry `near`, and differs at `place`, where it has `recorded` and the new one `present`; a side without a
    value is None. `settings` would have made it a hit.
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
    """The drifts of a replay. `misses` are those that were logged meanwhile (`near_miss.misses`)."""
    for step, call in enumerate(recorded, 1):
        if call.outcome is Outcome.BYPASS:
            yield Drift(step=step, reason=f"it passed by the cache ({call.reason}), and is refused in a replay")
    seen: set[str] = set()
    known = {miss["key"]: miss for miss in misses}
    for step, call in enumerate(replayed, 1):
        if call.outcome is not Outcome.HIT and call.asked not in seen:
            seen.add(call.asked)  # an agent may ask again, and is refused again
            yield _of_call(step, call, known.get(call.asked))
    asked, again = len(answered(recorded)), len(answered(replayed))
    if not seen and asked != again:
        more = f"the replay ended after {again} calls" if again < asked else f"the replay made {again} calls"
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
