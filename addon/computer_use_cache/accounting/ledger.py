"""What the cache did, counted: in memory first, then in the store, where it survives a restart and is shared.

What is counted by model or by hour is bounded: a client may name any number of models, and a proxy may run for years.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from computer_use_cache.models import Bypass, Cost, Outcome
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store

HISTORY_HOURS = 48
MOST_MODELS = 200
OTHER_MODELS = "(other models)"
"""Counts for what is asked of further models, once so many have counters of their own."""

_LONGEST_NAME = 200
_MOST_TALLIES = 1000
_SEPARATOR = "\t"
_OUTCOMES = {Outcome.HIT: "hits", Outcome.MISS: "misses", Outcome.STALE: "stale"}

type _Name = tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    """How often a model was asked with one outcome, and what that came to; of `unpriced` answers `usd` is not known."""

    number: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    usd: float = 0.0
    unpriced: int = 0
    at_list_price: int = 0

    def add(self, cost: Cost) -> None:
        self.input_tokens += cost.input_tokens
        self.output_tokens += cost.output_tokens
        self.seconds += cost.seconds
        if cost.usd is None:
            self.unpriced += 1
        else:
            self.usd += cost.usd
        self.at_list_price += cost.at_list_price


class Ledger:
    """Counters of one proxy. Counting is quick and safe from any thread; `flush` and `statistics` use the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._pending: Counter[_Name] = Counter()
        self._tallies: dict[tuple[Outcome, str], _Tally] = {}
        """What was served since they were last entered: every hit is counted, and must cost next to nothing."""
        self._last_stored = 0.0
        self._labels: dict[str, str] = {}
        self._stored_models: set[str] = set()
        self._hour = 0

    def served(self, outcome: Outcome, model: str, cost: Cost) -> None:
        """A request was answered from the store (HIT, STALE), which saved `cost`, or by the upstream (MISS), which
        spent it."""
        with self._lock:
            tally = self._tallies.get((outcome, model))
            if tally is None:
                if len(self._tallies) >= _MOST_TALLIES:
                    self._reckon()
                tally = self._tallies[outcome, model] = _Tally()
            tally.number += 1
            tally.add(cost)

    def coalesced(self) -> None:
        """A request was answered by another one's upstream call."""
        with self._lock:
            self._pending[("coalesced",)] += 1

    def saved(self, model: str, cost: Cost) -> None:
        """A request that is no hit did not cost this."""
        tally = _Tally()
        tally.add(cost)
        with self._lock:
            self._enter(self._label(model), "saved", tally)

    def bypassed(self, verdict: Bypass) -> None:
        """A request went past the cache."""
        with self._lock:
            self._pending["bypasses", verdict.reason] += 1

    def stored(self, now: float) -> None:
        """An entry was written at `now` (Unix seconds)."""
        with self._lock:
            self._pending[("stored",)] += 1
            self._last_stored = max(self._last_stored, now)

    def _label(self, model: str) -> str:
        """A model's name as a part of a counter's: what clients send may hold anything."""
        model = model[:_LONGEST_NAME]
        label = self._labels.get(model)
        if label is None:
            if len(self._labels) >= MOST_MODELS:
                return OTHER_MODELS
            label = self._labels[model] = model.encode("utf-8", "replace").decode().replace(_SEPARATOR, " ")
        return label

    def _reckon(self) -> None:
        """Enter the tallies among what is pending."""
        tallies, self._tallies = self._tallies, {}
        for (outcome, model), tally in tallies.items():
            label, name = self._label(model), _OUTCOMES[outcome]
            self._pending[(name,)] += tally.number
            self._pending["models", label, name] += tally.number
            self._enter(label, "spent" if outcome is Outcome.MISS else "saved", tally)

    def _enter(self, label: str, book: str, tally: _Tally) -> None:
        pending: Counter[_Name] = self._pending
        pending["models", label, book, "input_tokens"] += tally.input_tokens
        pending["models", label, book, "output_tokens"] += tally.output_tokens
        pending["models", label, book, "seconds"] += tally.seconds  # type: ignore[assignment]  # may be fractions
        pending["models", label, book, "usd"] += tally.usd  # type: ignore[assignment]
        if tally.unpriced:
            pending["models", label, "unpriced"] += tally.unpriced
        if tally.at_list_price:
            pending["models", label, "at_list_price"] += tally.at_list_price

    def flush(self, now: float) -> None:
        """Move what was counted into the store at `now` (Unix seconds); raises StoreError, and then nothing is lost."""
        with self._lock:
            self._reckon()
            pending, self._pending = self._pending, Counter()
            latest = {"last_updated_at": self._last_stored} if self._last_stored else {}
        if not pending:
            return
        hour = int(now // 3600)
        try:
            counts = self._bounded(pending)
            for name in ("hits", "misses"):
                if pending[(name,)]:
                    counts[_SEPARATOR.join(("hours", str(hour), name))] = pending[(name,)]
            self._store.add_counts(counts, latest)
        except BaseException:
            with self._lock:
                self._pending.update(pending)
            raise
        if hour != self._hour:
            self._forget_hours(hour - HISTORY_HOURS + 1)
            self._hour = hour

    def _bounded(self, pending: Counter[_Name]) -> Counter[str]:
        """The counts to store, those of models beyond `MOST_MODELS` together."""
        models = {name[1] for name in pending if name[0] == "models"}
        if not models <= self._stored_models:
            names = (name.split(_SEPARATOR) for name in self._store.counts())
            self._stored_models = {name[1] for name in names if name[0] == "models"} - {OTHER_MODELS}
            room = max(MOST_MODELS - len(self._stored_models), 0)
            self._stored_models |= set(sorted(models - self._stored_models - {OTHER_MODELS})[:room])
        counts: Counter[str] = Counter()
        for name, count in pending.items():
            if name[0] == "models" and name[1] not in self._stored_models:
                name = (name[0], OTHER_MODELS, *name[2:])  # noqa: PLW2901
            counts[_SEPARATOR.join(name)] += count
        return counts

    def _forget_hours(self, before: int) -> None:
        names = [name for name in self._store.counts() if _hour_of(name, before) < before]
        if names:
            self._store.forget_counts(names)

    def statistics(self, settings: Settings, now: float) -> dict[str, Any]:
        """What `/cache/stats` answers: the store's size and the totals of all proxies on it; raises StoreError."""
        size = self._store.size()
        self.flush(now)
        fixed = {"ttl_seconds": settings.ttl_seconds, "cache_dir": settings.store_place}
        return {"entries": size.entries, "bytes": size.bytes} | _totals(self._store.counts()) | fixed


def _hour_of(name: str, default: int) -> int:
    """The hour since 1970 that a counter is of, `default` for one that counts since ever."""
    match name.split(_SEPARATOR):
        case ["hours", hour, _]:
            return int(hour)
    return default


def _totals(counts: Mapping[str, float]) -> dict[str, Any]:
    bypasses: dict[str, int] = {}
    models: dict[str, dict[str, Any]] = {}
    hours: dict[int, dict[str, int]] = {}
    for name, count in sorted(counts.items()):
        match name.split(_SEPARATOR):
            case ["bypasses", reason]:
                bypasses[reason] = int(count)
            case ["models", model, *rest]:
                _enter(models.setdefault(model, _blank()), rest, count)
            case ["hours", hour, what]:
                hours.setdefault(int(hour), {"hits": 0, "misses": 0})[what] = int(count)
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
        "models": {name: _with_known_prices(model) for name, model in models.items()},
        "history": [{"from": hour * 3600} | of_hour for hour, of_hour in sorted(hours.items())],
    }


def _blank() -> dict[str, Any]:
    nothing = {"input_tokens": 0, "output_tokens": 0, "usd": 0.0, "seconds": 0.0}
    return {
        "hits": 0,
        "misses": 0,
        "saved": dict(nothing),
        "spent": dict(nothing),
        "priced": True,
        "list_price": False,
    }


def _with_known_prices(model: dict[str, Any]) -> dict[str, Any]:
    """A model's statistics, with null where nothing of a book has a known price: 0 would say that it was free."""
    for book in ("saved", "spent"):
        if not model[book]["usd"] and not model["priced"]:
            model[book]["usd"] = None
    return model


def _enter(model: dict[str, Any], name: list[str], count: float) -> None:
    match name:
        case ["unpriced"]:
            model["priced"] = False
        case ["at_list_price"]:
            model["list_price"] = True
        case [what]:
            model[what] = int(count)
        case [book, "usd" | "seconds" as what]:
            model[book][what] = count
        case [book, what]:
            model[book][what] = int(count)
