"""The statistics in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from computer_use_cache.accounting.statistics import Statistics

_PREFIX = "computer_use_cache_"
_BOOKS = {"saved": "answers from the cache", "spent": "answers from the upstream"}


class _Collector(Collector):
    def __init__(self, stats: Statistics) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        yield GaugeMetricFamily(_PREFIX + "entries", "Entries in the store.", value=stats.entries)
        yield GaugeMetricFamily(_PREFIX + "bytes", "Bytes that the store takes.", value=stats.bytes)
        requests = CounterMetricFamily(_PREFIX + "requests", "Requests by outcome, bypasses aside.", labels=["outcome"])
        for name in ("hits", "misses", "stale", "coalesced", "refusals"):
            requests.add_metric([name], getattr(stats, name))
        yield requests
        yield CounterMetricFamily(
            _PREFIX + "rebound_hits", "Hits on answers recorded for other values.", value=stats.rebound_hits
        )
        yield _by("kind", "rebound", "Values replaced in the answers of these hits, by kind.", stats.rebound)
        yield _by(
            "cause",
            "not_rebound",
            "Answers recorded for other values that were not served, by cause.",
            stats.not_rebound,
        )
        yield _by("reason", "bypasses", "Requests that bypassed the cache, by reason.", stats.bypasses)
        yield CounterMetricFamily(_PREFIX + "stored", "Answers stored.", value=stats.stored)
        yield _by("reason", "skips", "Answers of misses that were not stored, by reason.", stats.skips)
        yield CounterMetricFamily(
            _PREFIX + "studies_put_off",
            "Misses not studied at once, because the proxy was busy.",
            stats.studies_put_off,
        )
        yield CounterMetricFamily(_PREFIX + "studies_made_up", "Such misses studied later.", stats.studies_made_up)
        yield CounterMetricFamily(
            _PREFIX + "studies_dropped", "Such misses that were not studied.", stats.studies_dropped
        )
        for book, by_whom in _BOOKS.items():
            yield from self._book(book, by_whom)

    def _book(self, book: str, by_whom: str) -> Iterator[Metric]:
        """One account of every model. The ledger limits their number."""
        name = f"{_PREFIX}{book}_"
        tokens = CounterMetricFamily(name + "tokens", f"Tokens {book} by {by_whom}.", labels=["model", "direction"])
        usd = CounterMetricFamily(
            name + "usd", f"US dollars {book} by {by_whom}, where the price is known.", labels=["model"]
        )
        seconds = CounterMetricFamily(
            name + "seconds", f"Seconds of the upstream's time {book} by {by_whom}.", labels=["model"]
        )
        for model, counted in self._stats.models.items():
            sums = counted.saved if book == "saved" else counted.spent
            tokens.add_metric([model, "input"], sums.input_tokens)
            tokens.add_metric([model, "output"], sums.output_tokens)
            seconds.add_metric([model], sums.seconds)
            if counted.priced or sums.usd:  # 0 would mean that it is free
                usd.add_metric([model], sums.usd or 0.0)
        yield from (tokens, usd, seconds)


def _by(label: str, name: str, help: str, counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(_PREFIX + name, help, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def exposition(stats: Statistics) -> bytes:
    """The text of a scrape."""
    registry = CollectorRegistry()
    registry.register(_Collector(stats))
    return generate_latest(registry)
