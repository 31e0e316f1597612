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
from computer_use_cache.memory import MOST_SEEN, BoundedMemory
from computer_use_cache.run_models import Call, Run, new_id
from computer_use_cache.runs.conversation import Head, Opening, opening_of

PAUSE_SECONDS = 1800.0
"""A longer pause ends a run, except the run of a command."""
_MOST_REMEMBERED = 4096


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
        self._left = math.inf
        """How many more runs may be joined."""
        self._unread = math.inf
        """How many more openings may be read."""
        self._by_key = BoundedMemory[str, tuple[Opening, bool]](MOST_SEEN)
        """By key, because the fast path may know a hit without its body."""

    def renew(self, limit: float) -> None:
        """Let this many openings be read and runs be joined from now on, because each takes some time."""
        self._left = self._unread = limit

    def admits(self, route: Route, head: Head | None) -> bool:
        """Whether the run of a call can be looked for now. If its conversation is new, its opening is read, which is
        slow: call this before the store is locked for `run_of`."""
        if head is None or self._own_run or route.controls.run or self._openings.get(head.digest):
            return True
        if self._unread <= 0:
            return False
        self._unread -= 1
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
            id = last.id if last else self._join(_label("other", client), settled.call.format, at)
        if id:
            self._joined.put(client, _Joined(id, at, False), at + PAUSE_SECONDS)
        return id

    def forget(self) -> None:
        """Forget which runs were joined, because one of them is gone."""
        self._joined.clear()

    def _join(self, label: str, name: str, at: float, *, begins: bool = False) -> str | None:
        """The id of the run with this label; if it must be added, its name will be `name`, without credentials."""
        known = self._joined.get(label, at)
        if known is None or known.is_continued == begins:
            if self._left <= 0:
                return None
            self._left -= 1
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
