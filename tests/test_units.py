"""Money and time as people read them."""

from __future__ import annotations

import pytest

from computer_use_cache.units import dollars, duration


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0.0, "$0.00"),
        (1e-7, "$0.00000010"),
        (0.00421, "$0.0042"),
        (0.0999, "$0.100"),
        (0.25, "$0.25"),
        (12.3456, "$12.35"),
        (1234567.0, "$1,234,567.00"),
    ],
)
def test_dollars_keep_the_digits_that_count(usd: float, shown: str) -> None:
    assert dollars(usd) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (0.0042, "4 ms"),
        (0.1, "0.1 s"),
        (119.0, "119.0 s"),
        (120.0, "2.0 min"),
        (7200.0, "2.0 h"),
        (30 * 86400.0, "30.0 days"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
