"""The statistics in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX = "computer_use_cache_"
_BOOKS = {"saved": "answers from the cache", "spent": "answers from the upstream"}


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
        for book, by_whom in _BOOKS.items():
            yield from self._book(book, by_whom)

    def _book(self, book: str, by_whom: str) -> Iterator[Metric]:
        """A book of all models, of which the ledger names a bounded number."""
        name = f"{_PREFIX}{book}_"
        tokens = CounterMetricFamily(name + "tokens", f"Tokens {book} by {by_whom}.", labels=["model", "direction"])
        usd = CounterMetricFamily(
            name + "usd", f"US dollars {book} by {by_whom}, where the price is known.", labels=["model"]
        )
        seconds = CounterMetricFamily(
            name + "seconds", f"Seconds of the upstream's time {book} by {by_whom}.", labels=["model"]
        )
        for model, counted in self._stats["models"].items():
            tokens.add_metric([model, "input"], counted[book]["input_tokens"])
            tokens.add_metric([model, "output"], counted[book]["output_tokens"])
            seconds.add_metric([model], counted[book]["seconds"])
            if counted[book]["usd"] is not None:
                usd.add_metric([model], counted[book]["usd"])
        yield from (tokens, usd, seconds)


def exposition(stats: dict[str, Any]) -> bytes:
    """The text for a scrape, from what `/cache/stats` answers."""
    registry = CollectorRegistry()
    registry.register(_Statistics(stats))
    return generate_latest(registry)
