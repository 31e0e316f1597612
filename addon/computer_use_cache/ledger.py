"""What the cache did, counted: in memory first, then in the store, where it survives a restart and is shared."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from computer_use_cache.models import Bypass, Outcome
from computer_use_cache.settings import Settings
from computer_use_cache.store import Store

_SEPARATOR = "\t"


class Ledger:
    """Counters of one proxy. Counting is quick and safe from any thread; `flush` and `statistics` use the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._last_stored = 0.0

    def served(self, outcome: Outcome, model: str) -> None:
        """A request was answered from the store (HIT, STALE) or by the upstream (MISS)."""
        name = {Outcome.HIT: "hits", Outcome.MISS: "misses", Outcome.STALE: "stale"}[outcome]
        with self._lock:
            self._pending[name] += 1
            self._pending[_SEPARATOR.join(("models", _written(model), name))] += 1

    def coalesced(self) -> None:
        """A request was answered by another one's upstream call."""
        with self._lock:
            self._pending["coalesced"] += 1

    def bypassed(self, verdict: Bypass) -> None:
        """A request went past the cache."""
        with self._lock:
            self._pending[_SEPARATOR.join(("bypasses", verdict.reason))] += 1

    def stored(self, now: float) -> None:
        """An entry was written at `now` (Unix seconds)."""
        with self._lock:
            self._pending["stored"] += 1
            self._last_stored = max(self._last_stored, now)

    def flush(self) -> None:
        """Move what was counted into the store; raises StoreError, and then nothing is lost."""
        with self._lock:
            pending, self._pending = self._pending, Counter()
            latest = {"last_updated_at": self._last_stored} if self._last_stored else {}
        if not pending:
            return
        try:
            self._store.add_counts(pending, latest)
        except BaseException:
            with self._lock:
                self._pending.update(pending)
            raise

    def statistics(self, settings: Settings) -> dict[str, Any]:
        """What `/cache/stats` answers: the store's size and the totals of all proxies on it; raises StoreError."""
        size = self._store.size()
        fixed = {"ttl_seconds": settings.ttl_seconds, "cache_dir": settings.store_place}
        return {"entries": size.entries, "bytes": size.bytes} | self._totals() | fixed

    def _totals(self) -> dict[str, Any]:
        self.flush()
        counts = self._store.counts()
        bypasses: dict[str, int] = {}
        models: dict[str, dict[str, int]] = {}
        for name, count in sorted(counts.items()):
            match name.split(_SEPARATOR):
                case ["bypasses", reason]:
                    bypasses[reason] = int(count)
                case ["models", model, what]:
                    models.setdefault(model, {"hits": 0, "misses": 0})[what] = int(count)
        hits, misses = int(counts.get("hits", 0)), int(counts.get("misses", 0))
        return {
            "hits": hits,
            "misses": misses,
            "bypasses": bypasses,
            "stale": int(counts.get("stale", 0)),
            "coalesced": int(counts.get("coalesced", 0)),
            "hit_rate": hits / (hits + misses) if hits + misses else 0.0,
            "stored": int(counts.get("stored", 0)),
            "last_updated_at": counts.get("last_updated_at"),
            "models": models,
        }


def _written(model: str) -> str:
    """A model's name as a part of a counter's: what clients send may hold anything."""
    return model.encode("utf-8", "replace").decode().replace(_SEPARATOR, " ")
