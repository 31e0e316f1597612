"""Which run a call belongs to: that of its proxy, the one that its request names, or that of its conversation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan, Route
from computer_use_cache.credentials.redaction import redacted
from computer_use_cache.memory import BoundedMemory
from computer_use_cache.run_models import Call, Run, new_id
from computer_use_cache.runs.conversation import Head, Opening, opening_of

PAUSE_SECONDS = 1800.0
"""A longer pause ends a run, except the run of a command."""
_MOST_REMEMBERED = 4096
_MOST_KEYS = 8192
"""Enough for the hits that the fast path remembers (fast_path/lookup.py)."""
MOST_JOINED = 60
"""How many runs one flush joins. Each takes half a millisecond, in which the interpreter has no time for answers."""
_MOST_READ = 1_000_000
"""How many characters of new openings one flush reads: 25 ms for prose."""
_MOST_HASHED = 4_000_000
"""How many characters one flush hashes to recognise conversations: 10 ms."""


type OnRecorded = Callable[[str, int | None], object]
"""Called with the id of a call's run and the number of its step, None if the run is full."""


class Settled(NamedTuple):
    """A call that has ended: its request without the body, the head of its conversation if its body was at hand, and
    how it ended. `on_recorded` is called in the writer thread."""

    route: Route
    head: Head | None
    call: Call
    on_recorded: OnRecorded | None = None
    inexact: Plan | None = None
    """The request, if it was a hit on an entry that was recorded for other pixels."""

    @property
    def asked(self) -> str:
        """The key of the question."""
        return self.call.asked


@dataclass(slots=True)
class _Joined:
    """The run that a label joined last, and when. It `is_continued` once its conversation has an answer."""

    id: str
    at: float
    is_continued: bool


class Assignment:
    """Assigns the calls of one proxy to runs. `own_run` is the id of the run that all of them belong to, or "".

    Its memories are bounded. The store decides which run is joined, so that several processes agree.
    """

    def __init__(self, cache: Cache, own_run: str) -> None:
        self._cache = cache
        self._own_run = own_run
        self._joined = BoundedMemory[str, _Joined](_MOST_REMEMBERED)
        self._openings = BoundedMemory[bytes, Opening](_MOST_REMEMBERED)
        self._unjoined: float = 0
        """How many more runs may be joined in this flush."""
        self._unread: float = 0
        """How many more characters of openings may be read."""
        self._unhashed: float = 0
        """How many more characters may be hashed."""
        self._gone = frozenset[str]()
        """Runs that turned out to be gone in this flush."""
        self._held = set[str]()
        """Keys and labels of calls that must wait for the next flush. Later calls of the same conversations wait with
        them."""
        self._by_key = BoundedMemory[str, tuple[Opening, bool]](_MOST_KEYS)
        """By key, because the fast path may know a hit without its body."""

    def renew(self, *, is_last: bool) -> None:
        """A flush begins. Its work is bounded, unless it `is_last`."""
        limits = (math.inf,) * 3 if is_last else (MOST_JOINED, _MOST_READ, _MOST_HASHED)
        self._unjoined, self._unread, self._unhashed = limits
        self._held.clear()
        self._gone = frozenset()

    def admits(self, route: Route, head: Head | None, asked: str) -> bool:
        """Whether the run of a call can be looked for now. If its conversation is new, its opening is read, which is
        slow: call this before the store is locked for `run_of`."""
        if self._own_run or route.controls.run:
            return True
        is_admitted = self._is_read(head) if head else asked not in self._held
        if not is_admitted:
            self._held.add(asked)
        return is_admitted

    def _is_read(self, head: Head) -> bool:
        """Whether the opening of a conversation is known or can be read now."""
        if not head.is_hashed:
            if self._unhashed <= 0:
                return False
            self._unhashed -= head.size
        if self._openings.get(head.digest) is None:
            if self._unread <= 0:
                return False
            self._unread -= max(head.size, _MOST_READ / MOST_JOINED)  # else more would be read than may be joined
            self._opening_of(head)
        return True

    def run_of(self, settled: Settled) -> str | None:
        """The id of the call's run; None if it must be joined and no more may be. Blocks; raises StoreError."""
        if self._own_run:
            return self._own_run
        client, at = self._cache.keying.scope(settled.route.request), settled.call.at
        if name := settled.route.controls.run:
            return self._join(_label("name", client, name), redacted(name), at)
        opening, begins = self._opening(settled) or (None, False)
        if opening:
            id = self._join(_label("conversation", client, opening.digest), opening.title, at, begins=begins)
        else:
            last = self._joined.get(client, at)
            id = (
                last.id
                if last and last.id not in self._gone
                else self._join(_label("other", client), settled.call.format, at)
            )
        if id:
            self._joined.put(client, _Joined(id, at, False), at + PAUSE_SECONDS)
        return id

    def forget(self, gone: frozenset[str]) -> None:
        """Have these runs be joined anew, at once: they were removed, but their calls need not wait for new ones."""
        self._gone = gone
        self._unjoined = max(self._unjoined, len(gone))

    def _join(self, label: str, name: str, at: float, *, begins: bool = False) -> str | None:
        """The id of the run with this label; if it must be added, its name will be `name`, without credentials."""
        if label in self._held:
            return None
        known = self._joined.get(label, at)
        if known is None or known.is_continued == begins or known.id in self._gone:
            if self._unjoined <= 0:
                self._held.add(label)
                return None
            self._unjoined -= 1
            run = Run(id=new_id(at), name=name, began=at, ended=at)
            id = self._cache.store.run_log.join_run(run, label, at - PAUSE_SECONDS, begins=begins)
            known = _Joined(id, at, not begins)
        known.at = max(known.at, at)
        self._joined.put(label, known, known.at + PAUSE_SECONDS)
        return known.id

    def _opening(self, settled: Settled) -> tuple[Opening, bool] | None:
        """The opening of the call's conversation, and whether the call begins it; None if that is not known."""
        key, head = settled.call.asked, settled.head
        if head is None:
            return self._by_key.get(key)
        found = self._opening_of(head), head.begins
        self._by_key.put(key, found)
        return found

    def _opening_of(self, head: Head) -> Opening:
        opening = self._openings.get(head.digest)
        if opening is None:
            opening = opening_of(head)
            self._openings.put(head.digest, opening)
        return opening


def _label(*parts: str) -> str:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
