"""Where entries are kept: the Store protocol, which every store fulfils and one suite of tests checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from computer_use_cache.models import Entry, RequestRecord

NEWEST_OF_PART = 16
"""Of the requests that share a part, so many are looked at: what all share (a model, tools) tells nothing."""
NEAR_CANDIDATES = 4
KEPT_MISSES = 1000
LEASE_SECONDS = 10


def weigh[Holder](holders: Iterable[Sequence[Holder]]) -> Counter[Holder]:
    """How much each holder shares, given the holders of each part (`NEWEST_OF_PART` at most): what few share counts
    for more, and what all share for so little that all of it together does not weigh as much as one part of two."""
    shared: Counter[Holder] = Counter()
    for found in holders:
        for holder in found:
            shared[holder] += 1 / len(found) ** 2  # type: ignore[assignment]  # a Counter's values may be fractions
    return shared


@dataclass(frozen=True, slots=True)
class Size:
    """How much a store holds: `entries`, and the `bytes` they take."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries are meant: every condition that is not None must hold; `before` is in Unix seconds."""

    model: str | None = None
    namespace: str | None = None
    before: float | None = None

    def __call__(self, entry: Entry) -> bool:
        return (
            (self.model is None or entry.model == self.model)
            and (self.namespace is None or entry.namespace == self.namespace)
            and (self.before is None or entry.created_at < self.before)
        )


class Leases(Protocol):
    """Who, of all that share a store, makes the upstream call of a key. Every method blocks and raises StoreError."""

    def take(self, key: str, owner: str) -> str:
        """Take a key's lease for ten seconds unless another holds it; the owner who holds it now."""

    def renew(self, key: str, owner: str) -> None:
        """Ten seconds more, if `owner` still holds it."""

    def release(self, key: str, owner: str) -> None:
        """Give it back, if `owner` still holds it."""


class Store(Protocol):
    """Entries by key, and counters by name.

    Every method blocks, may be called from any thread, and raises StoreError when the store cannot be used. All but a
    quick `get` belong in a thread.
    """

    @property
    def is_quick(self) -> bool:
        """Whether `get` is quick enough for the event loop."""

    @property
    def leases(self) -> Leases | None:
        """The leases of a store that several proxies share, None where one has it for itself."""

    def get(self, key: str) -> Entry | None:
        """The entry, fresh or not; None when there is none or it cannot be read."""

    def put(self, entry: Entry, keep_seconds: float | None, record: RequestRecord | None = None) -> bool:
        """Keep the entry, and its request where it is known, for so long (None: for ever); True when it took the place
        of another."""

    def request(self, key: str) -> RequestRecord | None:
        """The request that the entry answers; None when it is not known."""

    def media(self, digest: str) -> str | None:
        """The long base64 text (a picture, say) of that digest out of the requests that are kept; None where it is not
        kept. A store may keep none."""

    def near(self, parts: Sequence[int]) -> list[str]:
        """The keys of at most `NEAR_CANDIDATES` entries whose requests share most of `parts`, the best first."""

    def add_miss(self, data: bytes) -> None:
        """Add to the log of misses, which holds the last `KEPT_MISSES`."""

    def misses(self) -> list[bytes]:
        """The log of misses, the newest first."""

    def delete(self, key: str) -> bool:
        """True when there was such an entry."""

    def entries(self) -> Iterator[Entry]:
        """Every readable entry, the one stored last first."""

    def clear(self, chosen: Choice | None = None) -> int:
        """Remove the chosen entries, or all; how many there were. Works in short pieces."""

    def probe(self) -> None:
        """Write and remove something, to see that it can be done."""

    def size(self) -> Size:
        """How much is kept."""

    def maintain(self) -> None:
        """Expire what is too old and evict what is too much, in short pieces."""

    def add_counts(self, counts: Mapping[str, float], latest: Mapping[str, float]) -> None:
        """Add `counts` to the counters and raise those in `latest` to at least that value.

        They survive a restart and are shared by all who use the store; all change together or none does.
        """

    def counts(self) -> dict[str, float]:
        """The counters."""

    def forget_counts(self, names: Iterable[str]) -> None:
        """Remove counters; those that are not there are passed over."""

    def close(self) -> None:
        """Let go of files and connections; the store is not used afterwards."""
