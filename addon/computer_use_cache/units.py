"""Money, time and numbers as people read them: `$0.0042`, `8.1 s`, `1 hit`."""

from __future__ import annotations

import math


def dollars(usd: float) -> str:
    """US dollars to the cent, or to two significant digits below ten cents."""
    places = 2 if usd <= 0 else max(2, 1 - math.floor(math.log10(usd)))
    return f"${usd:,.{places}f}"


def duration(seconds: float) -> str:
    """A length of time, in the unit that suits it."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:,.1f} days"


def counted(number: int, one: str, many: str) -> str:
    """A number of things, named in the singular or the plural."""
    return f"{number:,} {one if number == 1 else many}"
