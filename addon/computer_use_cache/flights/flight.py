"""Single flight: n identical requests at the same time make one upstream call.

The first request leads, the others follow. A follower that wants the leader's stream gets its chunks so far and then
the live ones; every other follower waits until the flight lands. Each flight lands exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from weakref import WeakSet

from computer_use_cache.flights.sender import NO_CREDENTIALS, Sender
from computer_use_cache.models import Entry, Response, Shape

_PIECE_SIZE = 64 * 1024
"""A follower that is behind gets chunks joined until they have this size. Without a limit, every slow follower would
have a copy of all that it has not read."""


class Released(Enum):
    """Landings that answer no follower."""

    ALONE = "alone"
    """Each follower asks upstream on its own."""
    FAILED = "failed"
    """Like ALONE, but the upstream failed: a follower may serve a stale entry."""
    TOGETHER = "together"
    """One of the followers leads a new flight."""


type Landing = Entry | Response | Released
"""What the followers get from a flight."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What is known about a leader's stream once its headers have arrived."""

    shape: Shape
    with_usage: bool
    headers: tuple[tuple[str, str], ...]

    def suits(self, shape: Shape, with_usage: bool) -> bool:
        """Whether a request for this shape can be sent the stream as it is."""
        return (self.shape, self.with_usage) == (shape, with_usage)


class StreamCut(Exception):
    """The leader's stream ended before its answer was complete."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class _Place:
    """How many of the chunks that are kept a follower has read."""

    position: int = 0


class Flight:
    """One upstream call for all requests of one key, made with the credentials of the leader (`sender`)."""

    def __init__(self, key: str, sender: Sender = NO_CREDENTIALS) -> None:
        self.key = key
        self.sender = sender
        self.stream: Stream | None = None
        self._chunks: list[bytes] = []
        self.has_ended = False
        """Whether the upstream has ended its stream cleanly, so that followers have all of it."""
        self.is_closed = False
        """Whether nobody may join the stream any more, because the cache does not keep it."""
        self._places: WeakSet[_Place] = WeakSet()
        """Where the followers that read the stream are. A follower that is gone has no place."""
        self._landing: Landing | None = None
        self._changed: asyncio.Event | None = None
        """Set at the next change. Created only when a follower waits for one: most streams have no followers."""
        self._followers: list[Callable[[], bool]] = []
        self._callbacks: list[Callable[[Landing], None]] = []

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
        """The leader received a chunk. Until the flight is closed, all are kept: followers can join at any time."""
        self._chunks.append(chunk)
        if self.is_closed:
            self._let_go()
        self._wake()

    def close(self) -> None:
        """Let nobody join any more, and from here on keep only the chunks that a follower still has to read."""
        self.is_closed = True
        self._let_go()

    def end_stream(self) -> None:
        """The upstream ended its stream properly."""
        self.has_ended = True
        self._wake()

    def land(self, landing: Landing) -> None:
        """The flight is over; a second landing is ignored."""
        if self._landing is None:
            self._landing = landing
            self._wake()
            for callback in self._callbacks:
                callback(landing)

    def when_landed(self, callback: Callable[[Landing], None]) -> None:
        """Call `callback` with the landing, at once if the flight is over."""
        if self._landing is None:
            self._callbacks.append(callback)
        else:
            callback(self._landing)

    def _wake(self) -> None:
        if self._changed:
            self._changed.set()
            self._changed = None

    def _change(self) -> asyncio.Event:
        """Set at the next change."""
        self._changed = self._changed or asyncio.Event()
        return self._changed

    async def begun(self) -> Stream | Landing:
        """The stream as soon as it has begun, or the landing of a flight that had none."""
        while self.stream is None and self._landing is None:
            await self._change().wait()
        found = self.stream or self._landing
        assert found is not None
        return found

    async def landed(self) -> Landing:
        """Wait for the landing."""
        while self._landing is None:
            await self._change().wait()
        return self._landing

    async def landed_or_unwanted(self, silence: float) -> None:
        """Wait until the flight is over, no follower is left, or nothing has come for `silence` seconds."""
        while self._landing is None and self.is_wanted:
            try:
                await asyncio.wait_for(self._change().wait(), silence)
            except TimeoutError:
                return

    def tail(self) -> AsyncIterator[bytes]:
        """The chunks so far, joined, then each as it arrives; raises StreamCut if the upstream breaks off.

        A flight that is closed cannot be read from its beginning any more.
        """
        assert not self.is_closed
        place = _Place()
        self._places.add(place)
        return self._read(place)

    async def _read(self, place: _Place) -> AsyncIterator[bytes]:
        while True:
            landing = self._landing
            if place.position < len(self._chunks):
                yield self._next_piece(place)
            elif landing is None:
                await self._change().wait()
            elif self.has_ended or isinstance(landing, Entry):
                return
            else:
                raise StreamCut

    def _next_piece(self, place: _Place) -> bytes:
        """The chunks that the follower has not had, joined, up to the size of a piece."""
        first, size = place.position, 0
        while place.position < len(self._chunks) and size < _PIECE_SIZE:
            size += len(self._chunks[place.position])
            place.position += 1
        return b"".join(self._chunks[first : place.position])

    def _let_go(self) -> None:
        """Forget the chunks that every follower has read."""
        read = min((place.position for place in self._places), default=len(self._chunks))
        if read:
            del self._chunks[:read]
            for place in self._places:
                place.position -= read


class Flights:
    """The flights that are under way, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight] = {}
        self.landings = 0
        """Rises whenever a flight ends."""

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, key: str) -> Flight | None:
        """The flight that a request with this key may follow."""
        return self._by_key.get(key)

    def begin(self, key: str, sender: Sender = NO_CREDENTIALS) -> Flight:
        """Begin a flight, which the caller leads and must land."""
        flight = self._by_key[key] = Flight(key, sender)
        return flight

    def withdraw(self, flight: Flight) -> None:
        """Let no further request follow this flight: the next one with its key begins another."""
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]

    def land(self, flight: Flight, landing: Landing) -> None:
        """End a flight."""
        self.landings += 1
        self.withdraw(flight)
        flight.land(landing)
