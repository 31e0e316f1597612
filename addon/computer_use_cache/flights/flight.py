"""Single flight: n identical requests at the same time make one upstream call.

The first is the leader, the others follow. A follower that wants the leader's stream gets its chunks so far and then
the live ones; every other follower waits for the outcome. Each flight has exactly one outcome, set by its leader.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum

from computer_use_cache.models import Entry, Response, Shape


class Released(Enum):
    """Outcomes that answer no follower: each asks upstream on its own, or one of them leads a new flight.

    FAILED is ALONE because the upstream failed: who may have an entry past its TTL takes that.
    """

    ALONE = "alone"
    FAILED = "failed"
    TOGETHER = "together"


type Outcome = Entry | Response | Released


@dataclass(frozen=True, slots=True)
class Stream:
    """What a leader's stream is, once its headers are there."""

    shape: Shape
    with_usage: bool
    headers: tuple[tuple[str, str], ...]


class StreamCut(Exception):
    """The leader's stream ended before its answer was complete."""


class Flight:
    """One upstream call for all requests of one key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.stream: Stream | None = None
        self._chunks: list[bytes] = []
        self._ended = False
        self._outcome: Outcome | None = None
        self._changed = asyncio.Event()
        self._followers: list[Callable[[], bool]] = []
        self._after: list[Callable[[Outcome], None]] = []

    def follow(self, is_alive: Callable[[], bool]) -> None:
        """Count one more follower; `is_alive` says whether its client is still there."""
        self._followers.append(is_alive)

    @property
    def is_wanted(self) -> bool:
        """Whether any follower's client still waits for this flight."""
        return any(is_alive() for is_alive in self._followers)

    def begin_stream(self, stream: Stream) -> None:
        """The leader's answer has begun and is a stream."""
        self.stream = stream
        self._wake()

    def feed(self, chunk: bytes) -> None:
        """The leader received a chunk. Nobody can begin to follow a stream whose first chunks were not kept."""
        self._chunks.append(chunk)
        self._wake()

    def end_stream(self) -> None:
        """The upstream has ended its stream, and did not break off: whoever follows it has had all of it."""
        self._ended = True
        self._wake()

    def land(self, outcome: Outcome) -> None:
        """The flight is over; a second outcome is ignored."""
        if self._outcome is None:
            self._outcome = outcome
            self._wake()
            for tell in self._after:
                tell(outcome)

    def when_landed(self, tell: Callable[[Outcome], None]) -> None:
        """Call `tell` with the outcome, at once when it is there."""
        if self._outcome is None:
            self._after.append(tell)
        else:
            tell(self._outcome)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def begun(self) -> Stream | Outcome:
        """The stream as soon as it has begun, or the outcome of a flight that had none."""
        while self.stream is None and self._outcome is None:
            await self._changed.wait()
        found = self.stream or self._outcome
        assert found is not None
        return found

    async def landed(self) -> Outcome:
        """The outcome."""
        while self._outcome is None:
            await self._changed.wait()
        return self._outcome

    async def landed_or_unwanted(self, silence: float) -> None:
        """Return when the flight is over, when no follower is left, or when nothing came for `silence` seconds."""
        while self._outcome is None and self.is_wanted:
            try:
                await asyncio.wait_for(self._changed.wait(), silence)
            except TimeoutError:
                return

    async def tail(self) -> AsyncIterator[bytes]:
        """The chunks so far, joined, then each as it comes; raises StreamCut when the upstream breaks off."""
        position = 0
        while True:
            changed, outcome = self._changed, self._outcome
            if position < len(self._chunks):
                backlog, position = b"".join(self._chunks[position:]), len(self._chunks)
                yield backlog
            elif outcome is None:
                await changed.wait()
            elif self._ended or isinstance(outcome, Entry):
                return
            else:
                raise StreamCut


class Flights:
    """The flights of this moment, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight] = {}

    def find(self, key: str) -> Flight | None:
        """The flight that a request of this key may follow."""
        return self._by_key.get(key)

    def begin(self, key: str) -> Flight:
        """A new flight, led by the caller, who must land it."""
        flight = self._by_key[key] = Flight(key)
        return flight

    def withdraw(self, flight: Flight) -> None:
        """Let nobody follow this flight any more: later requests of its key begin another."""
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]

    def land(self, flight: Flight, outcome: Outcome) -> None:
        """End a flight."""
        self.withdraw(flight)
        flight.land(outcome)
