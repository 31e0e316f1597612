from __future__ import annotations

import pytest

from computer_use_cache.cli import drifts
from computer_use_cache.runs.drift import Drift

DIFFERS = Drift(step=2, reason="not recorded", near="9b1c", place="/input/1", recorded="50 %,\nor so", present=None)


@pytest.mark.parametrize(
    ("drift", "file", "command"),
    [
        (
            Drift(step=3, reason="the replay made 3 calls, the recorded run made 2"),
            "a.jsonl",
            "::warning file=a.jsonl,title=step 3%3A the replay made 3 calls%2C the recorded run made 2"
            "::the replay made 3 calls, the recorded run made 2",
        ),
        (
            DIFFERS,
            "odd,name: 1.jsonl",
            "::warning file=odd%2Cname%3A 1.jsonl,title=step 2%3A not recorded"
            "::  at /input/1%0A  recorded: 50 %25,%0Aor so%0A  now:      nothing",
        ),
    ],
)
def test_an_annotation_is_one_line_in_which_nothing_ends_early(drift: Drift, file: str, command: str) -> None:
    assert drifts.annotation(drift, file) == command
