"""Records the calls of runs: in memory first, then in the store, in the writer thread.

Recording costs a request one append. In a flood of new conversations their calls wait for a later flush, while those of
known runs are recorded. Calls that find no room are dropped and counted.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan, Route
from computer_use_cache.credentials.redaction import redacted
from computer_use_cache.diagnosis.audit import hit_record
from computer_use_cache.errors import FormatError
from computer_use_cache.models import Cost, Outcome
from computer_use_cache.run_models import Call
from computer_use_cache.runs.assignment import Assignment, OnRecorded, Settled
from computer_use_cache.runs.call_log import CallLog, Recorded
from computer_use_cache.runs.conversation import Head, head_of

if TYPE_CHECKING:
    from computer_use_cache.accounting.spans import Spans

MOST_PENDING = 2000
"""Between two flushes, which are a second apart. No agent makes this many calls; a load test does."""

MOST_WAITING = 1000
"""Calls of new conversations that may wait for a later flush. They take no place from calls of known ones."""


class _Hit(NamedTuple):
    """A hit of the fast path, from which the next flush makes a call."""

    route: Route
    head: Head | None
    model: str
    asked: str
    key: str
    cost: Cost
    began: float
    ended: float


class _Stored(NamedTuple):
    """A call, its run and the number of its step, None if the run is full. It `is_rejected` if none of the calls that
    were added with it found room."""

    settled: Settled
    run: str
    step: int | None
    is_rejected: bool


class Recorder:
    """The calls of one proxy. `own_run` is the id of the run that all of them belong to, or "". `spans` and `call_log`
    get each call once it is recorded.

    `hit` and `add` are quick and safe from any thread; `flush` uses the store.
    """

    def __init__(
        self, cache: Cache, ledger: Ledger, own_run: str, spans: Spans | None = None, call_log: CallLog | None = None
    ) -> None:
        self._cache = cache
        self._ledger = ledger
        self._spans = spans
        self._call_log = call_log
        self._assignment = Assignment(cache, own_run)
        self._pending: deque[_Hit | Settled] = deque()
        self._waiting = list[_Hit | Settled]()
        self._dropped = 0
        self._unstored = 0
        """Calls of the current flush that are lost if it fails."""

    def hit(self, plan: Plan, key: str, cost: Cost, began: float, now: float) -> None:
        """A hit of the fast path on the entry `key` has ended. Times are in Unix seconds."""
        if len(self._pending) < MOST_PENDING:
            head = head_of(plan.format, plan.body) if plan.body else None
            self._pending.append(_Hit(plan.route, head, plan.model, plan.key, key, cost, began, now))
        else:
            self._dropped += 1

    def add(self, plan: Plan, call: Call, on_recorded: OnRecorded | None = None, *, is_inexact: bool = False) -> None:
        """A call has ended. Its request is kept if it `is_inexact`: a hit although its pictures differ."""
        if len(self._pending) < MOST_PENDING:
            head = head_of(plan.format, plan.body)
            self._pending.append(Settled(plan.route, head, call, on_recorded, plan if is_inexact else None))
        else:
            self._dropped += 1

    def flush(self, *, is_last: bool = False) -> None:
        """Move the calls into the store, except those that must wait for the next flush, unless this `is_last`. If that
        raises StoreError, they are lost, and counted."""
        self._assignment.renew(is_last=is_last)
        dropped, self._dropped = self._dropped, 0
        ready = self._ready()
        self._unstored = len(ready)
        stored = list[_Stored]()
        try:
            settled = [_settled_hit(each) if isinstance(each, _Hit) else each for each in ready]
            for inexact in filter(None, (each.inexact for each in settled)):
                with contextlib.suppress(FormatError):  # it cannot be audited, but its call still counts
                    self._cache.store.put_request(inexact.key, hit_record(self._cache, inexact))
            if settled:
                stored = self._stored_together(settled)
                self._unstored = sum(each.step is None for each in stored)
        finally:
            dropped += len(self._waiting[MOST_WAITING:])
            del self._waiting[MOST_WAITING:]
            if dropped + self._unstored:
                self._ledger.unrecorded(dropped + self._unstored)
            self._announce(stored, dropped)

    def _ready(self) -> list[_Hit | Settled]:
        """Take the calls whose run can be looked for now. The others wait for the next flush."""
        calls = self._waiting + [self._pending.popleft() for _ in range(len(self._pending))]
        ready, self._waiting = list[_Hit | Settled](), []
        for each in calls:
            is_admitted = self._assignment.admits(each.route, each.head, each.asked)
            (ready if is_admitted else self._waiting).append(each)
        return ready

    def _stored_together(self, settled: Sequence[Settled]) -> list[_Stored]:
        """Store calls in their runs. Those whose run has been removed, or is full, join another."""
        with self._cache.store.run_log.together():
            stored = self._store(settled)
            if rejected := [each for each in stored if each.is_rejected]:
                self._assignment.forget(frozenset(each.run for each in rejected))
                stored = [each for each in stored if not each.is_rejected]
                stored += self._store([each.settled for each in rejected])
        return stored

    def _store(self, settled: Sequence[Settled]) -> list[_Stored]:
        """Store in their runs the calls that need not wait for the next flush."""
        by_run: defaultdict[str, list[Settled]] = defaultdict(list)
        for each in sorted(settled, key=lambda one: one.call.at):
            if run := self._assignment.run_of(each):
                by_run[run].append(each._replace(call=_redacted(each.call)))
            else:
                self._unstored -= 1
                self._waiting.append(each)
        stored = list[_Stored]()
        for id, members in by_run.items():
            steps = self._cache.store.run_log.add_calls(id, [one.call for one in members])
            stored += (_Stored(one, id, step, not steps) for one, step in zip_longest(members, steps))
        return stored

    def _announce(self, stored: Sequence[_Stored], dropped: int) -> None:
        for settled, run, step, _ in stored:
            if settled.on_recorded:
                settled.on_recorded(run, step)
            if self._spans:
                self._spans.add(settled.call, settled.route.request, run, step)
        if self._call_log and (stored or dropped):
            self._call_log.write([Recorded(each.settled.call, each.run, each.step) for each in stored], dropped)


def _settled_hit(hit: _Hit) -> Settled:
    call = Call(
        at=hit.began,
        outcome=Outcome.HIT,
        format=hit.route.format.name,
        path=hit.route.request.path,
        model=hit.model,
        key=hit.key,
        asked=hit.asked,
        seconds=max(hit.ended - hit.began, 0.0),
        cost=hit.cost,
    )
    return Settled(hit.route, hit.head, call)


def _redacted(call: Call) -> Call:
    """The call without credentials: its texts are a client's, or quote one."""
    names = ("path", "model", "reason", "near_place")
    return replace(call, **{name: _redacted_text(getattr(call, name)) for name in names})


@functools.lru_cache(256)
def _redacted_text(text: str) -> str:
    """Most calls repeat the path and the model of an earlier one."""
    return redacted(text)
