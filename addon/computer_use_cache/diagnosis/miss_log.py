"""Reads the log of near misses. Apart from `near_miss`, so that `run` need not load what searches for them."""

from __future__ import annotations

from computer_use_cache.formats.base import Json, load_object
from computer_use_cache.store.base import RequestLog


def near_misses(store: RequestLog, since: float) -> list[Json]:
    """The near misses logged after `since` (Unix seconds), newest first. Blocks; raises StoreError.

    Each has `at`, `model`, `key`, `run` and the members of `near_miss.as_json`.
    """
    return [miss for miss in map(load_object, store.misses()) if miss["at"] >= since]
