"""What Prometheus reads is what the statistics say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from computer_use_cache.accounting.prometheus import exposition
from computer_use_cache.accounting.statistics import Statistics

STATS: dict[str, Any] = {
    "entries": 3,
    "bytes": 4096,
    "hits": 5,
    "misses": 2,
    "stale": 1,
    "coalesced": 4,
    "rebound_hits": 12,
    "rebound": {"tmp": 13},
    "not_rebound": {"a picture differs": 14},
    "bypasses": {'a "quoted"\nreason\\': 6, "cache mode is off": 7},
    "refusals": 9,
    "stored": 8,
    "skips": {"status is not 200": 11},
    "studies_put_off": 16,
    "studies_made_up": 15,
    "studies_dropped": 17,
    "models": {
        'a "quoted"\nmodel\\': {
            "hits": 5,
            "misses": 1,
            "saved": {"input_tokens": 10, "output_tokens": 20, "usd": 0.25, "seconds": 1.5},
            "spent": {"input_tokens": 30, "output_tokens": 40, "usd": 0.5, "seconds": 2.5},
            "priced": True,
        },
        "unpriced": {
            "hits": 0,
            "misses": 1,
            "saved": {"input_tokens": 0, "output_tokens": 0, "usd": 0.0, "seconds": 0.0},
            "spent": {"input_tokens": 50, "output_tokens": 60, "usd": 0.0, "seconds": 3.5},
            "priced": False,
        },
    },
}
DASHBOARD = Path(__file__).parents[2] / "scripts" / "grafana-dashboard.json"


def samples(stats: dict[str, Any]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("computer_use_cache_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition(msgspec.convert(stats, Statistics)).decode())
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
        ("requests_total", "refusals"): 9,
        ("rebound_hits_total",): 12,
        ("rebound_total", "tmp"): 13,
        ("not_rebound_total", "a picture differs"): 14,
        ("bypasses_total", 'a "quoted"\nreason\\'): 6,
        ("bypasses_total", "cache mode is off"): 7,
        ("stored_total",): 8,
        ("skips_total", "status is not 200"): 11,
        ("studies_put_off_total",): 16,
        ("studies_made_up_total",): 15,
        ("studies_dropped_total",): 17,
        ("saved_tokens_total", "input", 'a "quoted"\nmodel\\'): 10,
        ("saved_tokens_total", "output", 'a "quoted"\nmodel\\'): 20,
        ("saved_usd_total", 'a "quoted"\nmodel\\'): 0.25,
        ("saved_seconds_total", 'a "quoted"\nmodel\\'): 1.5,
        ("spent_tokens_total", "input", 'a "quoted"\nmodel\\'): 30,
        ("spent_tokens_total", "output", 'a "quoted"\nmodel\\'): 40,
        ("spent_usd_total", 'a "quoted"\nmodel\\'): 0.5,
        ("spent_seconds_total", 'a "quoted"\nmodel\\'): 2.5,
        ("saved_tokens_total", "input", "unpriced"): 0,
        ("saved_tokens_total", "output", "unpriced"): 0,
        ("saved_seconds_total", "unpriced"): 0,
        ("spent_tokens_total", "input", "unpriced"): 50,
        ("spent_tokens_total", "output", "unpriced"): 60,
        ("spent_seconds_total", "unpriced"): 3.5,
    }, "and no money of a model whose price is not known"


def test_a_cache_that_bypassed_nothing_is_exposed_too() -> None:
    assert not any(name == "bypasses_total" for name, *_ in samples(STATS | {"bypasses": {}}))


def test_every_metric_says_what_it_is() -> None:
    families = list(text_string_to_metric_families(exposition(msgspec.convert(STATS, Statistics)).decode()))
    assert [family.type for family in families] == ["gauge"] * 2 + ["counter"] * 16
    assert all(family.documentation for family in families)


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are() -> None:
    exposed: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition(msgspec.convert(STATS, Statistics)).decode()):
        for sample in family.samples:
            exposed.setdefault(sample.name, {"job"}).update(sample.labels)
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"computer_use_cache_\w+", query)}
    assert asked == exposed.keys()
    for query in queries:
        labels = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
        assert labels <= set.union(*(exposed[name] for name in re.findall(r"computer_use_cache_\w+", query))), query
