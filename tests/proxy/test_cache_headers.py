"""The headers that tell clients of the cache."""

from __future__ import annotations

import pytest

from computer_use_cache.models import Outcome
from computer_use_cache.proxy.cache_headers import Told, hit_lines, told_headers


@pytest.mark.parametrize("status", ["hit", "hit; ttl=60", "hit; ttl=-1; 100%(key)s"])
@pytest.mark.parametrize("age", ["0", "86400"])
def test_the_lines_of_a_hit_are_its_headers(status: str, age: str) -> None:
    told = Told(Outcome.HIT, status, "k" * 64, age=age)
    assert hit_lines(told) == "".join(f"{name}: {value}\r\n" for name, value in told_headers(told))
