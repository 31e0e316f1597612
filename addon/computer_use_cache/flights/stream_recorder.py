"""Records a streamed miss as it passes: its bytes, where they were cut, and their pace."""

from __future__ import annotations

from computer_use_cache.models import Skip


class Recorder:
    """Collects the chunks of a stream up to `limit` bytes; `given_up` says why a stream is not recorded."""

    def __init__(self, limit: int, started: float) -> None:
        """`started` is when the upstream was asked, in seconds of a monotonic clock."""
        self.chunks: list[bytes] = []
        self.given_up: Skip | None = None
        self._pace: list[tuple[int, int]] = []
        self._room = limit
        self._last = started

    def feed(self, chunk: bytes, now: float) -> None:
        """Record a chunk that arrived at `now`, on the clock of `started`."""
        self._room -= len(chunk)
        if self._room < 0:
            self.give_up(Skip.TOO_LARGE)
        else:
            milliseconds = round((now - self._last) * 1000)
            self._last += milliseconds / 1000  # not `now`: rounding errors must not add up
            self.chunks.append(chunk)
            self._pace.append((len(chunk), milliseconds))

    def give_up(self, reason: Skip) -> None:
        """Stop recording and discard what was recorded."""
        self.given_up = self.given_up or reason
        self._room = -1
        self.chunks.clear()
        self._pace.clear()

    @property
    def body(self) -> bytes:
        """All bytes that passed."""
        return b"".join(self.chunks)

    @property
    def pace(self) -> tuple[tuple[int, int], ...]:
        """The (bytes, milliseconds since the previous chunk) of every chunk."""
        return tuple(self._pace)
