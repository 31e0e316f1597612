"""The tee of one streamed miss: what passed, in which pieces and at which pace; never in the way of the stream."""

from __future__ import annotations

from computer_use_cache.errors import SkipReason


class Recorder:
    """Collects the chunks of a stream up to `limit` bytes. `given_up` says why a stream is not recorded."""

    def __init__(self, limit: int, started: float) -> None:
        """`started` is when the upstream was asked, in seconds of any steady clock."""
        self.chunks: list[bytes] = []
        self.given_up: SkipReason | None = None
        self._pace: list[tuple[int, int]] = []
        self._room = limit
        self._last = started

    def feed(self, chunk: bytes, now: float) -> None:
        """Take the next chunk, received at `now` on the clock of `started`."""
        self._room -= len(chunk)
        if self._room < 0:
            self.give_up(SkipReason.TOO_LARGE)
        else:
            milliseconds = round((now - self._last) * 1000)
            self._last += milliseconds / 1000  # not `now`: what rounding takes from one chunk comes with the next
            self.chunks.append(chunk)
            self._pace.append((len(chunk), milliseconds))

    def give_up(self, reason: SkipReason) -> None:
        """Record no more, and forget what was recorded."""
        self.given_up = self.given_up or reason
        self._room = -1
        self.chunks.clear()
        self._pace.clear()

    @property
    def body(self) -> bytes:
        """Everything that passed."""
        return b"".join(self.chunks)

    @property
    def pace(self) -> tuple[tuple[int, int], ...]:
        """(bytes, milliseconds since the chunk before) of every chunk."""
        return tuple(self._pace)
