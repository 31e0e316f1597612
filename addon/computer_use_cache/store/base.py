"""The protocols that every store implements. One test suite runs against each store (tests/store/test_store.py).

A store is one object with several roles. Code that uses it names the role it needs: `EntryStore` for recorded answers,
`RequestLog` for the requests behind them, `RunLog` for the calls of each run, `Counters` for statistics, `Leases` for
work shared between proxies. Only code that opens, passes on or closes a whole store names `Store`.

Methods may be called from any thread and raise StoreError when the store cannot be used. All of them block, so the
event loop calls them in a thread; the one exception is `get_quickly`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.run_models import Call, Run

NEWEST_OF_PART = 16
"""How many requests are compared for each part they share. A part that more requests share says little."""
NEWEST_OF_TEMPLATE = 16
NEAR_CANDIDATES = 4
KEPT_MISSES = 1000
HIT_KEPT_SECONDS = 7 * 86400.0
KEPT_RUNS = 1000
CALLS_OF_RUN = 10_000
"""A run keeps its first calls, so that the number of a step never changes."""
RUNS_SHARE = 0.01
"""The share of the size limit that is for runs."""
LEAST_FOR_RUNS = 1024 * 1024
"""The bytes that runs may take however small the store is."""
LEASE_SECONDS = 10


class Slow(Enum):
    """What `get_quickly` returns in place of an entry that takes too long to read on the event loop."""

    SLOW = "slow"


_BYTES_BESIDE_BODY = 2048
_BYTES_OF_CHUNK = 128
"""A pair of numbers, and its place among the others."""


def weight(entry: Entry) -> int:
    """About how many bytes an entry takes up in memory. A recorded stream has a chunk for each of its tokens."""
    return _BYTES_BESIDE_BODY + len(entry.body) + len(entry.bindings) + _BYTES_OF_CHUNK * len(entry.chunks)


class NewEntry(NamedTuple):
    """An entry to store, for how long (None: forever), and the request that it answers, if that is known."""

    entry: Entry
    keep_seconds: float | None
    record: RequestRecord | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """How many entries a store holds, and how many bytes it takes."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Selects entries: every condition that is not None must hold. `before` is in Unix seconds."""

    model: str | None = None
    namespace: str | None = None
    before: float | None = None

    def __call__(self, entry: Entry) -> bool:
        return (
            (self.model is None or entry.model == self.model)
            and (self.namespace is None or entry.namespace == self.namespace)
            and (self.before is None or entry.created_at < self.before)
        )


class EntryStore(Protocol):
    """Recorded answers by key."""

    def get(self, key: str) -> Entry | None:
        """The entry, fresh or not; None if it is missing or cannot be read."""

    def get_quickly(self, key: str) -> Entry | Slow | None:
        """As `get`, on the event loop: SLOW if reading the entry would hold it up, and `get` must be used instead."""

    def put_all(self, batch: Sequence[NewEntry]) -> Set[str]:
        """Store many entries at the cost of a few transactions; the keys of those that replaced others. They count as
        equally new. If several have the same key, the last one is kept."""

    def with_template(self, template: str) -> list[str]:
        """The keys of the newest `NEWEST_OF_TEMPLATE` entries with that template, newest first."""

    def delete(self, key: str) -> bool:
        """Remove an entry, everything known about it included; True if there was one."""

    def entries(self) -> Iterator[Entry]:
        """Every readable entry, the most recently stored first."""

    def clear(self, chosen: Choice | None = None) -> int:
        """Remove the chosen entries, or all entries and runs, in short transactions; the number of entries removed."""

    def probe(self) -> None:
        """Write something and remove it again, to find out if that is possible."""

    def size(self) -> Size:
        """How much is stored."""

    def maintain(self) -> None:
        """Remove what has expired, then the oldest while the store is over its limit, in short transactions."""


class RequestLog(Protocol):
    """The requests behind the entries, and a log of misses: to explain misses and audit hits. Serving needs neither."""

    def request(self, key: str) -> RequestRecord | None:
        """The request that an entry answers; None if it is not known."""

    def put_request(self, key: str, record: RequestRecord) -> None:
        """Keep a request that was answered by another request's entry for `HIT_KEPT_SECONDS`, for audits. A store that
        keeps no media need not keep it."""

    def media(self, digest: str) -> str | None:
        """The base64 text with that digest, such as a screenshot, that recorded requests refer to; None if the store
        does not have it. A store need not keep any."""

    def near(self, parts: Sequence[int]) -> list[str]:
        """The keys of the `NEAR_CANDIDATES` entries whose requests share most of `parts`, the best first."""

    def add_miss(self, data: bytes) -> None:
        """Append to the log of misses, which keeps the last `KEPT_MISSES`."""

    def misses(self) -> list[bytes]:
        """The log of misses, newest first."""


class Counters(Protocol):
    """Numbers by name that survive a restart and are shared by every process that uses the store."""

    def add_counts(self, counts: Mapping[str, float], latest: Mapping[str, float]) -> None:
        """Add `counts` to the counters, and raise those in `latest` to at least the value given: all of it or none."""

    def counts(self) -> dict[str, float]:
        """All counters."""

    def forget_counts(self, names: Iterable[str]) -> None:
        """Remove counters. Names that are not there are ignored."""


class Leases(Protocol):
    """Decides which of the proxies that share a store makes the upstream call for a key."""

    def take(self, key: str, owner: str) -> str:
        """Take the lease for `LEASE_SECONDS` unless another owner holds it; returns its present owner."""

    def renew(self, key: str, owner: str) -> None:
        """Extend the lease by `LEASE_SECONDS` if `owner` still holds it."""

    def release(self, key: str, owner: str) -> None:
        """Give the lease back if `owner` still holds it."""


class RunLog(Protocol):
    """Runs and their calls. The oldest are removed when there are more than `KEPT_RUNS`, or when
    they take too much space.

    A run without an exit status has `ended` with its last call so far.
    """

    def add_run(self, run: Run) -> None:
        """Add a run, or replace what is known about it. Its calls stay."""

    def join_run(self, run: Run, label: str, since: float, *, begins: bool = False) -> str:
        """The id of the newest run with this label that was active at `since` (Unix seconds) or later; without one,
        `run` is added. All processes that ask at the same time get the same answer. Call it inside `together`, which
        makes room.

        A call that `begins` a conversation does not join a run that is past its first request: such a call starts a
        new run.
        """

    def together(self) -> AbstractContextManager[None]:
        """Makes many changes quick: they are written at the end of the `with`, where the store can do that, and the
        oldest runs are removed once. A disk keeps all of the changes or none."""

    def add_calls(self, id: str, calls: Sequence[Call]) -> range:
        """Add calls to a run; returns the numbers of the steps that they became, counted from 1. A run has at most
        `CALLS_OF_RUN` steps, and calls of an unknown run are not kept."""

    def runs(self, limit: int) -> list[Run]:
        """The runs that began last, the newest first."""

    def run(self, id: str) -> Run | None:
        """The run with that id."""

    def calls(self, id: str) -> list[Call]:
        """The calls of a run, in the order of its steps."""

    def delete_run(self, id: str) -> bool:
        """Remove a run and its calls; True if there was one."""

    def clear(self) -> int:
        """Remove all runs; the number of runs removed."""

    def maintain(self) -> None:
        """Remove the oldest runs while there are too many."""


class Store(EntryStore, RequestLog, Counters, Protocol):
    """A whole store."""

    @property
    def run_log(self) -> RunLog:
        """The runs."""

    @property
    def leases(self) -> Leases | None:
        """The leases of a store that several proxies share; None for a store with a single user."""

    def interrupt(self) -> None:
        """Have a running `clear` or `maintain` raise StoreClosed after its present transaction. Then `close` it."""

    def close(self) -> None:
        """Release files and connections. The store cannot be used afterwards."""


def weigh[Holder](holders: Iterable[Sequence[Holder]]) -> Counter[Holder]:
    """Scores holders by the parts they share, given the holders of each part (at most `NEWEST_OF_PART`).

    A part counts for more the fewer hold it: all the parts that everybody holds together weigh less than one part that
    only two hold.
    """
    shared: Counter[Holder] = Counter()
    for found in holders:
        for holder in found:
            shared[holder] += 1 / len(found) ** 2  # type: ignore[assignment]  # a Counter's values may be fractions
    return shared
