"""Counts what the cache does: in memory first, then in the store, where counts survive a restart and are shared.

Counters by model and by hour are bounded: a client may name any number of models, and a proxy may run for years.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from computer_use_cache.accounting.statistics import SEPARATOR, Statistics, from_counts
from computer_use_cache.credentials import detection
from computer_use_cache.models import Cost, Outcome, Reason, Skip
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store

HISTORY_HOURS = 48
MOST_MODELS = 200
OTHER_MODELS = "(other models)"
"""Counts for all further models, once `MOST_MODELS` have counters of their own."""

MOST_UNSEEN = 200
OTHER_HOSTS = "(other hosts)"
"""Counts for all further calls that are not cached, once `MOST_UNSEEN` have counters of their own."""

_LONGEST_NAME = 200
_MOST_TALLIES = 1000
_OUTCOMES = {Outcome.HIT: "hits", Outcome.MISS: "misses", Outcome.STALE: "stale"}

type _Name = tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    """How often requests to one model had one outcome, and the sum of their costs. The price of `unpriced` answers is
    not known."""

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
    """The counters of one proxy. Counting is quick and safe from any thread; `flush` and `statistics` use the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.served_requests = 0
        """How often `served` was called."""
        self._lock = threading.Lock()
        self._pending: Counter[_Name] = Counter()
        self._tallies: dict[tuple[Outcome, str], _Tally] = {}
        """Counted since `_reckon` last ran. Every hit is counted here, so it must cost next to nothing."""
        self._last_stored = 0.0
        self._labels: dict[str, str] = {}
        self._stored_models: set[str] = set()
        self._hour = 0

    def served(self, outcome: Outcome, model: str, cost: Cost) -> None:
        """A request was answered from the store (HIT, STALE), which saved `cost`, or sent upstream (MISS), which spent
        it."""
        with self._lock:
            tally = self._tallies.get((outcome, model))
            if tally is None:
                if len(self._tallies) >= _MOST_TALLIES:
                    self._reckon()
                tally = self._tallies[outcome, model] = _Tally()
            tally.number += 1
            tally.add(cost)
            self.served_requests += 1

    def coalesced(self) -> None:
        """A request was answered by another request's upstream call."""
        with self._lock:
            self._pending[("coalesced",)] += 1

    def saved(self, model: str, cost: Cost) -> None:
        """A coalesced request saved `cost`."""
        tally = _Tally()
        tally.add(cost)
        with self._lock:
            self._enter(self._label(model), "saved", tally)

    def bypassed(self, reason: Reason) -> None:
        """A request bypassed the cache."""
        with self._lock:
            self._pending["bypasses", reason] += 1

    def unseen(self, host: str, route: str, setting: str) -> None:
        """A model call to a host or route that is not cached, although `setting` would have it cached ("": none would).
        For a connection that is not decrypted the `route` is ""."""
        host, route, setting = (_fit(text) for text in (host, route, setting))
        with self._lock:
            self._pending["unseen", host, route, setting] += 1

    def refused(self) -> None:
        """A request was answered here with an error."""
        with self._lock:
            self._pending[("refusals",)] += 1

    def rebound(self, kinds: Iterable[tuple[str, int]]) -> None:
        """A hit was served with values replaced: how many of each kind."""
        with self._lock:
            self._pending[("rebound_hits",)] += 1
            for kind, number in kinds:
                self._pending["rebound", kind] += number

    def not_rebound(self, cause: str) -> None:
        """A hit on an answer recorded for other values was refused."""
        with self._lock:
            self._pending["not_rebound", cause] += 1

    def skipped(self, reason: Skip) -> None:
        """The answer of a miss was not stored."""
        with self._lock:
            self._pending["skips", reason] += 1

    def study_put_off(self) -> None:
        """A miss was not studied at once, because the proxy was busy."""
        with self._lock:
            self._pending[("studies_put_off",)] += 1

    def study_made_up(self) -> None:
        """A study that was put off has been made up for."""
        with self._lock:
            self._pending[("studies_made_up",)] += 1

    def study_dropped(self) -> None:
        """A study that was put off will not be made up for, because too many newer ones wait."""
        with self._lock:
            self._pending[("studies_dropped",)] += 1

    def unrecorded(self, calls: int) -> None:
        """Calls were not recorded in their run."""
        with self._lock:
            self._pending[("unrecorded",)] += calls

    def stored(self, now: float) -> None:
        """An answer was stored at `now` (Unix seconds)."""
        with self._lock:
            self._pending[("stored",)] += 1
            self._last_stored = max(self._last_stored, now)

    def _label(self, model: str) -> str:
        """A model's name made safe for a counter's name, because clients may send anything, a credential too."""
        model = model[:_LONGEST_NAME]
        label = self._labels.get(model)
        if label is None:
            if len(self._labels) >= MOST_MODELS:
                return OTHER_MODELS
            label = self._labels[model] = OTHER_MODELS if detection.find_in_text(model) else _fit(model)
        return label

    def _reckon(self) -> None:
        """Add the tallies to the pending counts."""
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
        """Move the counts into the store at `now` (Unix seconds). Raises StoreError, and then keeps them."""
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
                    counts[SEPARATOR.join(("hours", str(hour), name))] = pending[(name,)]
            self._store.add_counts(counts, latest)
        except BaseException:
            with self._lock:
                self._pending.update(pending)
            raise
        if hour != self._hour:
            self._forget_hours(hour - HISTORY_HOURS + 1)
            self._hour = hour

    def _bounded(self, pending: Counter[_Name]) -> Counter[str]:
        """The counts to store, with all models beyond `MOST_MODELS` counted as one."""
        models = {name[1] for name in pending if name[0] == "models"}
        if not models <= self._stored_models:
            names = (name.split(SEPARATOR) for name in self._store.counts())
            self._stored_models = {name[1] for name in names if name[0] == "models"} - {OTHER_MODELS}
            room = max(MOST_MODELS - len(self._stored_models), 0)
            self._stored_models |= set(sorted(models - self._stored_models - {OTHER_MODELS})[:room])
        if any(name[0] == "unseen" for name in pending):
            pending = self._bounded_unseen(pending)
        counts: Counter[str] = Counter()
        for name, count in pending.items():
            if name[0] == "models" and name[1] not in self._stored_models:
                name = (name[0], OTHER_MODELS, *name[2:])  # noqa: PLW2901
            counts[SEPARATOR.join(name)] += count
        return counts

    def _bounded_unseen(self, pending: Counter[_Name]) -> Counter[_Name]:
        known = {tuple(name.split(SEPARATOR)) for name in self._store.counts() if name.startswith("unseen" + SEPARATOR)}
        bounded: Counter[_Name] = Counter()
        for name, count in pending.items():
            if name[0] == "unseen" and name not in known and len(known) >= MOST_UNSEEN:
                name = ("unseen", OTHER_HOSTS, "", "")  # noqa: PLW2901
            elif name[0] == "unseen":
                known.add(name)
            bounded[name] += count
        return bounded

    def _forget_hours(self, before: int) -> None:
        names = [name for name in self._store.counts() if _hour_of(name, before) < before]
        if names:
            self._store.forget_counts(names)

    def statistics(self, settings: Settings, now: float) -> Statistics:
        """The store's size and the totals of all proxies that use it; raises StoreError."""
        size = self._store.size()
        self.flush(now)
        return from_counts(
            self._store.counts(),
            entries=size.entries,
            bytes=size.bytes,
            ttl_seconds=settings.ttl_seconds,
            cache_dir=settings.store_place,
        )


def _fit(text: str) -> str:
    """A text that clients may have sent, fit to be part of a counter's name."""
    return text[:_LONGEST_NAME].encode("utf-8", "replace").decode().replace(SEPARATOR, " ")


def _hour_of(name: str, default: int) -> int:
    """The hour since 1970 that a counter belongs to, `default` for one that belongs to none."""
    match name.split(SEPARATOR):
        case ["hours", hour, _]:
            return int(hour)
    return default
