"""Records a streamed miss as it passes: its bytes, where they were cut, and their pace."""

from __future__ import annotations


class Recorder:
    """Collects the chunks of a stream. One longer than `limit` bytes is not recorded, and `overflowed` is set."""

    def __init__(self, limit: int, started: float) -> None:
        """`started` is when the upstream was asked, in seconds of a monotonic clock."""
        self.chunks: list[bytes] = []
        self.overflowed = False
        self._pace: list[tuple[int, int]] = []
        self._room = limit
        self._last = started

    def feed(self, chunk: bytes, now: float) -> None:
        """Record a chunk that arrived at `now`, on the clock of `started`."""
        self._room -= len(chunk)
        if self._room < 0:
            self.give_up()
        else:
            milliseconds = round((now - self._last) * 1000)
            self._last += milliseconds / 1000  # not `now`: rounding errors must not add up
            self.chunks.append(chunk)
            self._pace.append((len(chunk), milliseconds))

    def give_up(self) -> None:
        """Stop recording and discard what was recorded."""
        self.overflowed = True
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
