"""What Prometheus reads is what the statistics say."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from computer_use_cache.metrics import exposition

STATS: dict[str, Any] = {
    "entries": 3,
    "bytes": 4096,
    "hits": 5,
    "misses": 2,
    "stale": 1,
    "coalesced": 4,
    "bypasses": {'a "quoted"\nreason\\': 6, "cache mode is off": 7},
    "stored": 8,
}


def samples(stats: dict[str, Any]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("computer_use_cache_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition(stats).decode())
        for sample in family.samples
    }


def test_every_number_is_exposed() -> None:
    assert samples(STATS) == {
        ("entries",): 3,
        ("bytes",): 4096,
        ("requests_total", "hits"): 5,
        ("requests_total", "misses"): 2,
        ("requests_total", "stale"): 1,
        ("requests_total", "coalesced"): 4,
        ("bypasses_total", 'a "quoted"\nreason\\'): 6,
        ("bypasses_total", "cache mode is off"): 7,
        ("stored_total",): 8,
    }


def test_a_cache_that_bypassed_nothing_is_exposed_too() -> None:
    assert not any(name == "bypasses_total" for name, *_ in samples(STATS | {"bypasses": {}}))


def test_every_metric_says_what_it_is() -> None:
    families = list(text_string_to_metric_families(exposition(STATS).decode()))
    assert [family.type for family in families] == ["gauge", "gauge", "counter", "counter", "counter"]
    assert all(family.documentation for family in families)
