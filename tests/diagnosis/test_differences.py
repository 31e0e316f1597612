"""Two requests without what they have in common."""

from __future__ import annotations

from typing import Any

import pytest

from computer_use_cache.diagnosis.differences import without_equal

LONG = "a text that is longer than a type or a role, and says the same in both"

CASES: list[tuple[str, Any, Any, Any]] = [
    ("equal long texts", {"a": LONG, "b": "1"}, {"a": LONG, "b": "2"}, ({"b": "1"}, {"b": "2"})),
    ("short texts say what an object is", {"type": "t", "b": 1}, {"type": "t", "b": 2}, "all"),
    ("equal objects", {"a": {"x": 1}, "b": 1}, {"a": {"x": 1}, "b": 2}, ({"b": 1}, {"b": 2})),
    ("equal items of a list", [[1], [2], [3]], [[1], [4], [3]], ([[2]], [[4]])),
    ("lists of different lengths", [[1], [2]], [[1]], "all"),
    ("members of one side", {"a": 1, "b": LONG}, {"b": LONG, "c": 2}, ({"a": 1}, {"c": 2})),
    ("numbers", {"a": 1, "b": 2}, {"a": True, "b": 2}, "all"),
    (
        "members below",
        {"a": [{"x": LONG, "y": 1}]},
        {"a": [{"x": LONG, "y": 2}]},
        ({"a": [{"y": 1}]}, {"a": [{"y": 2}]}),
    ),
]


@pytest.mark.parametrize(("asked", "recorded", "left"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_two_values_share_is_left_out(asked: Any, recorded: Any, left: Any) -> None:
    assert without_equal(asked, recorded) == ((asked, recorded) if left == "all" else left)
