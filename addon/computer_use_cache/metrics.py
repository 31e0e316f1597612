"""The statistics in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX = "computer_use_cache_"


class _Statistics(Collector):
    def __init__(self, stats: dict[str, Any]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        for name, help in (("entries", "Entries in the store."), ("bytes", "Bytes the store takes.")):
            yield GaugeMetricFamily(_PREFIX + name, help, value=self._stats[name])
        requests = CounterMetricFamily(_PREFIX + "requests", "Requests by what became of them.", labels=["outcome"])
        for name in ("hits", "misses", "stale", "coalesced"):
            requests.add_metric([name], self._stats[name])
        yield requests
        bypasses = CounterMetricFamily(_PREFIX + "bypasses", "Requests past the cache, by reason.", labels=["reason"])
        for reason, count in self._stats["bypasses"].items():
            bypasses.add_metric([reason], count)
        yield bypasses
        yield CounterMetricFamily(_PREFIX + "stored", "Entries written.", value=self._stats["stored"])


def exposition(stats: dict[str, Any]) -> bytes:
    """The text for a scrape, from what `/cache/stats` answers."""
    registry = CollectorRegistry()
    registry.register(_Statistics(stats))
    return generate_latest(registry)
