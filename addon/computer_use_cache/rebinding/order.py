"""The order of the times and dates of a request. An answer to one in which today comes before the deadline is no answer
to one in which the deadline has passed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from computer_use_cache.rebinding.dates import clock_of, day_of

_DAY = 86_400
_MINUTE = 60


def is_kept(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether no time or date overtakes another between two runs; `pairs` are the texts of each.

    Days are compared with days, and times of one zone with each other. What happens within a minute may happen in
    another order the next time.
    """
    every = set(pairs)
    readings = (True, False) if any("/" in old for old, _ in every) else (False,)
    return not any(
        _turns_round(places, margin)
        for day_first in readings
        for margin, places in _comparable(every, day_first=day_first)
    )


def _comparable(pairs: Iterable[tuple[str, str]], *, day_first: bool) -> Iterable[tuple[int, list[tuple[int, int]]]]:
    """Lists of what can be compared, recorded and present, each with the smallest difference that counts."""
    days: list[tuple[int, int]] = []
    seconds: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for old, new in pairs:
        dates = day_of(old, day_first=day_first), day_of(new, day_first=day_first)
        if dates[0] is None or dates[1] is None:
            continue
        days.append((dates[0], dates[1]))
        clocks = clock_of(old), clock_of(new)
        if clocks[0] and clocks[1] and clocks[0].zone == clocks[1].zone:
            seconds[clocks[0].zone].append((dates[0] * _DAY + clocks[0].seconds, dates[1] * _DAY + clocks[1].seconds))
    return [(1, days), *((_MINUTE, places) for places in seconds.values())]


def _turns_round(places: Sequence[tuple[int, int]], margin: int) -> bool:
    """Whether two places are `margin` or more apart, first in one order and then in the other."""
    ordered = sorted(places)
    earlier, highest = 0, float("-inf")
    for old, new in ordered:
        while ordered[earlier][0] <= old - margin:
            highest = max(highest, ordered[earlier][1])
            earlier += 1
        if highest >= new + margin:
            return True
    return False
