"""The bytes of one client connection as the fast lane takes them: request by request, each held until it is whole."""

from __future__ import annotations

from enum import Enum, auto

from computer_use_cache.proxy.fast_path.lookup import Admitted, FastLane, Line

_BEGINNING = b"POST /"
_LONGEST_HEAD = 64 * 1024


class Step(Enum):
    """What has become of the bytes so far."""

    WAIT = auto()
    """The request is not whole."""
    WHOLE = auto()
    """It is: see `admitted`, `length`, `body` and `digest`; then `done`, or `give_up`."""
    FOREIGN = auto()
    """It is not for the lane: `give_up` what was held."""


class Intake:
    """What is held of one connection."""

    __slots__ = ("_head", "_line", "_missing", "_pieces", "_rest", "admitted", "length")

    def __init__(self, line: Line | None) -> None:
        self._line = line
        self.admitted: Admitted | None = None
        self.length = 0
        self._head = b""
        """What came of a head; once that is admitted, all of it."""
        self._pieces: list[bytes] = []
        """What came of the body."""
        self._missing = 0
        """Bytes of the body still to come."""
        self._rest = b""
        """What came after a whole request."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held."""
        return not self._head and not self._rest

    def feed(self, data: bytes, lane: FastLane | None) -> Step:
        """Take what came."""
        if self.admitted is None:
            self._head = self._head + data if self._head else data
            data = self._admit(self._head, lane)
            if self.admitted is None:
                return Step.WAIT if lane and self._line and _is_unfinished(self._head) else Step.FOREIGN
        if len(data) > self._missing:
            data, self._rest = data[: self._missing], data[self._missing :]
        self._pieces.append(data)
        self._missing -= len(data)
        return Step.WAIT if self._missing else Step.WHOLE

    def _admit(self, received: bytes, lane: FastLane | None) -> bytes:
        """Look at a head that is whole; what came of the body."""
        end = received.find(b"\r\n\r\n") + 4
        if end > 3 and lane and self._line and (found := lane.admit(self._line, received[:end])):
            self.admitted, self.length = found
            self._missing = self.length
            self._head = received[:end]
        return received[end:]

    def digest(self) -> bytes:
        """A SHA-256 of all of a whole request that decides its answer. A millisecond's work for a screenshot."""
        assert self.admitted
        digest = self.admitted.digest.copy()
        for piece in self._pieces:
            digest.update(piece)
        return bytes(digest.digest())

    def body(self) -> bytes:
        """The body of a whole request."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def done(self) -> bytes:
        """Let go of a whole request; what came after it."""
        rest = self._rest
        self._forget()
        return rest

    def give_up(self) -> bytes:
        """Give up everything read so far, unchanged."""
        data = b"".join((self._head, *self._pieces, self._rest))
        self._forget()
        return data

    def _forget(self) -> None:
        self.admitted, self._head, self._pieces, self._rest = None, b"", [], b""


def _is_unfinished(head: bytes) -> bool:
    """Whether more of a head must come before it can be judged; a bare line feed ends a line for mitmproxy."""
    return (
        _BEGINNING.startswith(head[: len(_BEGINNING)])  # what begins otherwise may wait for an answer: TLS does
        and len(head) <= _LONGEST_HEAD
        and b"\r\n\r\n" not in head
        and head.count(b"\n") == head.count(b"\r\n")
    )
