"""Splits the bytes of one client connection into requests for the fast path, holding each until it is complete."""

from __future__ import annotations

from enum import Enum, auto

from computer_use_cache.proxy.fast_path.lookup import Admitted, Arrival, FastPath

_BEGINNING = b"POST /"
_LONGEST_HEAD = 64 * 1024


class Step(Enum):
    """Where the reader stands after `feed`."""

    INCOMPLETE = auto()
    """More bytes are needed."""
    COMPLETE = auto()
    """A request is complete: use `admitted` and `body`, then call `done` or `give_up`."""
    FOREIGN = auto()
    """The fast path does not handle this request: `give_up` returns its bytes."""


class RequestReader:
    """Reads one request at a time. Without an `arrival`, every request is foreign."""

    __slots__ = ("_arrival", "_head", "_missing", "_pieces", "_rest", "admitted")

    def __init__(self, arrival: Arrival | None) -> None:
        self._arrival = arrival
        self.admitted: Admitted | None = None
        self._head = b""
        """The bytes of the head received so far; once it is admitted, exactly the head."""
        self._pieces: list[bytes] = []
        """The bytes of the body received so far."""
        self._missing = 0
        """The number of bytes of the body still to come."""
        self._rest = b""
        """Bytes received after a complete request."""

    @property
    def is_empty(self) -> bool:
        """True if no bytes are held."""
        return not self._head and not self._rest

    def feed(self, data: bytes, fast_path: FastPath | None) -> Step:
        """Add received bytes."""
        if self.admitted is None:
            self._head = self._head + data if self._head else data
            data = self._admit(self._head, fast_path)
            if self.admitted is None:
                is_open = fast_path is not None and self._arrival is not None
                return Step.INCOMPLETE if is_open and _is_unfinished(self._head) else Step.FOREIGN
        if len(data) > self._missing:
            data, self._rest = data[: self._missing], data[self._missing :]
        self._pieces.append(data)
        self._missing -= len(data)
        return Step.INCOMPLETE if self._missing else Step.COMPLETE

    def _admit(self, received: bytes, fast_path: FastPath | None) -> bytes:
        """Have the fast path judge the head, if it is complete. Returns the bytes that follow it."""
        end = received.find(b"\r\n\r\n") + 4
        if end > 3 and fast_path and self._arrival and (found := fast_path.admit(self._arrival, received[:end])):
            self.admitted, self._missing = found
            self._head = received[:end]
        return received[end:]

    def hold(self, data: bytes) -> None:
        """Keep bytes that follow a complete request."""
        self._rest += data

    def body(self) -> bytes:
        """The body of a complete request."""
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def done(self) -> bytes:
        """Forget a complete request. Returns the bytes that follow it."""
        rest = self._rest
        self._forget()
        return rest

    def give_up(self) -> tuple[bytes, ...]:
        """Forget everything held, and return it unchanged, in pieces: joining them would copy a long body."""
        pieces = tuple(piece for piece in (self._head, *self._pieces, self._rest) if piece)
        self._forget()
        return pieces

    def _forget(self) -> None:
        self.admitted, self._head, self._pieces, self._rest = None, b"", [], b""


def _is_unfinished(head: bytes) -> bool:
    """True if a head cannot be judged before more of it arrives. mitmproxy also accepts a bare line feed as the end of
    a line; such heads are left to it."""
    return (
        _BEGINNING.startswith(head[: len(_BEGINNING)])  # anything else may wait for a reply, as TLS does
        and len(head) <= _LONGEST_HEAD
        and b"\r\n\r\n" not in head
        and head.count(b"\n") == head.count(b"\r\n")
    )
