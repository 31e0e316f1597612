"""The statistics: what `/cache/stats` answers, `stats` prints and Prometheus scrapes.

Every request ends in exactly one outcome, so hits, misses, stale, coalesced, bypasses and refusals add up to all
requests. The field names are those of the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

SEPARATOR = "\t"
"""Between the words of a counter's name in the store."""


class Book(msgspec.Struct, frozen=True):
    """One of a model's two accounts: what its answers cost, or what they would have cost."""

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    """US dollars, as far as prices are known. Null if no price is known: 0 would mean that it was free."""
    seconds: float = 0.0
    """Time spent waiting for the upstream."""


class ModelStatistics(msgspec.Struct, frozen=True):
    """What was counted for one model."""

    hits: int = 0
    misses: int = 0
    stale: int = 0
    saved: Book = Book()
    """Not spent, because the store or another request's upstream call answered."""
    spent: Book = Book()
    """Spent on misses."""
    priced: bool = True
    """False if the price of some answer is not known; its money is in no sum."""
    list_price: bool = False
    """True if the upstream's own prices are not known, and those of the model's maker are counted."""


class Hour(msgspec.Struct, frozen=True, rename={"start": "from"}):
    """What was counted in one hour."""

    start: int
    """Unix seconds."""
    hits: int = 0
    misses: int = 0


class Unseen(msgspec.Struct, frozen=True):
    """Model calls that were not cached because of where they went."""

    host: str
    route: str
    """"" for connections that were not decrypted, and may have been anything."""
    setting: str
    """The setting that would cache them, "" if none would."""
    count: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The size of the store, and the totals of all proxies that use it."""

    entries: int = 0
    """Entries in the store."""
    bytes: int = 0
    """Bytes that they take."""
    hits: int = 0
    """Requests answered from the store."""
    misses: int = 0
    """Requests sent upstream, whether or not that succeeded."""
    rebound_hits: int = 0
    """Hits on answers that were recorded for other values."""
    rebound: dict[str, int] = {}
    """Values replaced in the answers of these hits, by kind."""
    not_rebound: dict[str, int] = {}
    """Times that an answer recorded for other values was not served, by the cause."""
    bypasses: dict[str, int] = {}
    """Requests that bypassed the cache, by reason."""
    unseen: list[Unseen] = []
    """Model calls, and connections that may have held some, to hosts and routes that are not cached."""
    stale: int = 0
    """Requests answered with an expired entry because the upstream failed."""
    coalesced: int = 0
    """Requests answered by the upstream call of an identical request."""
    refusals: int = 0
    """Requests answered here with an error."""
    hit_rate: float = 0.0
    """Hits / (hits + misses)."""
    stored: int = 0
    """Answers stored, by misses and from loaded flows."""
    skips: dict[str, int] = {}
    """Answers of misses that were not stored, by reason."""
    studies_put_off: int = 0
    """Misses whose nearest entry was not looked for at once, because the proxy was busy."""
    studies_made_up: int = 0
    """How many of these misses were studied later."""
    studies_dropped: int = 0
    """How many of them never will be, because too many newer ones came."""
    unrecorded: int = 0
    """Calls that their run does not have, because there were too many at once or the store failed."""
    last_updated_at: float | None = None
    """When an answer was last stored, in Unix seconds."""
    models: dict[str, ModelStatistics] = {}
    """The counts of each model, by its name."""
    history: list[Hour] = []
    """The last hours in which something was asked, oldest first."""
    ttl_seconds: int = 0
    """CACHE_TTL_SECONDS."""
    cache_dir: str = ""
    """Where the store is."""


def from_counts(counts: Mapping[str, float], **fixed: Any) -> Statistics:
    """The statistics that the store's counters add up to; `fixed` are the fields that are not counted."""
    hits, misses = int(counts.get("hits", 0)), int(counts.get("misses", 0))
    return Statistics(
        hits=hits,
        misses=misses,
        rebound_hits=int(counts.get("rebound_hits", 0)),
        rebound={kind: int(count) for (kind,), count in _below("rebound", counts)},
        not_rebound={cause: int(count) for (cause,), count in _below("not_rebound", counts)},
        bypasses={reason: int(count) for (reason,), count in _below("bypasses", counts)},
        unseen=[Unseen(host, route, setting, int(count)) for (host, route, setting), count in _below("unseen", counts)],
        stale=int(counts.get("stale", 0)),
        coalesced=int(counts.get("coalesced", 0)),
        refusals=int(counts.get("refusals", 0)),
        hit_rate=hits / (hits + misses) if hits + misses else 0.0,
        stored=int(counts.get("stored", 0)),
        skips={reason: int(count) for (reason,), count in _below("skips", counts)},
        studies_put_off=int(counts.get("studies_put_off", 0)),
        studies_made_up=int(counts.get("studies_made_up", 0)),
        studies_dropped=int(counts.get("studies_dropped", 0)),
        unrecorded=int(counts.get("unrecorded", 0)),
        last_updated_at=counts.get("last_updated_at"),
        models=_models(counts),
        history=_history(counts),
        **fixed,
    )


def _below(first: str, counts: Mapping[str, float]) -> Iterator[tuple[list[str], float]]:
    """The further words and the count of every counter whose name begins with `first`, by name."""
    for name, count in sorted(counts.items()):
        word, *rest = name.split(SEPARATOR)
        if word == first and rest:
            yield rest, count


def _models(counts: Mapping[str, float]) -> dict[str, ModelStatistics]:
    found: dict[str, dict[str, Any]] = {}
    for (model, *words), count in _below("models", counts):
        fields = found.setdefault(model, {})
        match words:
            case ["unpriced"]:
                fields["priced"] = False
            case ["at_list_price"]:
                fields["list_price"] = True
            case ["saved" | "spent" as book, counted]:
                fields.setdefault(book, {})[counted] = count if counted in ("usd", "seconds") else int(count)
            case [outcome]:
                fields[outcome] = int(count)
    return {model: msgspec.convert(_with_known_prices(fields), ModelStatistics) for model, fields in found.items()}


def _with_known_prices(fields: dict[str, Any]) -> dict[str, Any]:
    """A model's counts. An account without any known price has no sum of money."""
    if fields.get("priced", True):
        return fields
    books = {name: fields.get(name, {}) for name in ("saved", "spent")}
    return fields | {name: book | {"usd": book.get("usd") or None} for name, book in books.items()}


def _history(counts: Mapping[str, float]) -> list[Hour]:
    hours: dict[int, dict[str, int]] = {}
    for (hour, outcome), count in _below("hours", counts):
        hours.setdefault(int(hour), {})[outcome] = int(count)
    return [Hour(hour * 3600, **counted) for hour, counted in sorted(hours.items())]
