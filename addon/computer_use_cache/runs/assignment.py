"""Which run a call belongs to: that of its proxy, the one that its request names, or that of its conversation."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan, Route
from computer_use_cache.run_models import Call, Run
from computer_use_cache.runs.cleaning import without_credentials
from computer_use_cache.runs.conversation import Head, Opening, digest_of, opening_of
from computer_use_cache.store.memory import MOST_SEEN, BoundedMemory

PAUSE_SECONDS = 1800.0
"""A longer pause ends a run, unless it is that of a command."""
_MOST_REMEMBERED = 4096
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


type WhenRecorded = Callable[[str, int | None], object]
"""Is told the id of a call's run and the number of its step, None if the run has too many calls to keep this one."""


class Settled(NamedTuple):
    """A call that has ended: its request without the body, the head of its conversation if its body was at hand, and
    how it ended. `when_recorded` is called in the thread that writes."""

    route: Route
    head: Head | None
    call: Call
    when_recorded: WhenRecorded | None = None
    inexact: Plan | None = None
    """The request, if other pixels than those in its pictures were answered."""


@dataclass(slots=True)
class _Joined:
    """The run that was last joined by a label, and when. It `goes_on` if its conversation has been continued."""

    id: str
    at: float
    goes_on: bool


def new_id(now: float) -> str:
    """The id of a run that begins at `now` (Unix seconds). Ids sort by time."""
    number, digits = int(now * 10), ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits + "".join(secrets.choice(_DIGITS) for _ in range(3))


class Assignment:
    """Assigns the calls of one proxy. `own_run` is the id of the run that all of them belong to, or "".

    Its memories are bounded. The store decides which run is joined, so that several processes agree.
    """

    def __init__(self, cache: Cache, own_run: str) -> None:
        self._cache = cache
        self._own_run = own_run
        self._joined = BoundedMemory[str, _Joined](_MOST_REMEMBERED)
        self._openings = BoundedMemory[bytes, Opening](_MOST_REMEMBERED)
        self._of_keys = BoundedMemory[str, tuple[Opening, bool]](MOST_SEEN)
        """The fast path remembers its hits without their bodies."""

    def run_of(self, settled: Settled) -> str:
        """The id of the call's run. Blocks; raises StoreError."""
        if self._own_run:
            return self._own_run
        client, at = self._cache.scope(settled.route.request), settled.call.at
        if name := settled.route.controls.run:
            return self._join(_label("name", client, name), name, at)
        opening, begins = self._opening(settled) or (None, False)
        if opening:
            id = self._join(_label("conversation", client, opening.digest), opening.title, at, begins=begins)
        else:
            last = self._joined.get(client, at)
            id = last.id if last else self._join(_label("other", client), settled.call.format, at)
        self._joined.put(client, _Joined(id, at, False), at + PAUSE_SECONDS)
        return id

    def forget(self) -> None:
        """A run that was joined is no longer there."""
        self._joined.clear()

    def _join(self, label: str, name: str, at: float, *, begins: bool = False) -> str:
        known = self._joined.get(label, at)
        if known is None or known.goes_on == begins:
            run = Run(id=new_id(at), name=without_credentials(name), began=at, ended=at)
            id = self._cache.store.run_log.join_run(run, label, at - PAUSE_SECONDS, begins=begins)
            known = _Joined(id, at, not begins)
        known.at = max(known.at, at)
        self._joined.put(label, known, known.at + PAUSE_SECONDS)
        return known.id

    def _opening(self, settled: Settled) -> tuple[Opening, bool] | None:
        """The opening of the call's conversation, and whether the call begins it; None if that is not known."""
        key, head = settled.call.asked, settled.head
        if head is None:
            return self._of_keys.get(key)
        found = self._opening_of(head), head.begins
        self._of_keys.put(key, found)
        return found

    def _opening_of(self, head: Head) -> Opening:
        digest = digest_of(head)
        opening = self._openings.get(digest)
        if opening is None:
            opening = opening_of(head)
            self._openings.put(digest, opening)
        return opening


def _label(*parts: str) -> str:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
