"""What can be decided about a request, and how an exchange can end: closed unions of frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.errors import RequestError
from computer_use_cache.flights.flight import Flight, Stream
from computer_use_cache.models import Absent, Bypass, Entry, Response, Skip, Skipped

type Kinds = tuple[tuple[str, int], ...]
"""The kinds of values that were put into a recorded answer, and how many of each; empty for an exact hit."""


# -- decide


class Serve(msgspec.Struct, frozen=True, gc=False):
    """The store answers: `pieces` are the body of the answer, in the shape that was asked for."""

    entry: Entry
    pieces: Sequence[bytes]
    rebound: Kinds = ()


@dataclass(frozen=True, slots=True)
class Follow:
    """An identical request is upstream already: wait for its answer."""

    absent: Absent
    flight: Flight


@dataclass(frozen=True, slots=True)
class Forward:
    """Ask upstream."""

    absent: Absent


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with an error: there is no entry, and the request may not go upstream. `why` is what the error says."""

    error: RequestError
    near: Near | None = None
    why: str = ""


type Decision = Serve | Follow | Forward | Refuse


class Postpone(Enum):
    """There is no decision yet, because making it would hold up the event loop."""

    POSTPONE = "postpone"


# -- follow


@dataclass(frozen=True, slots=True)
class Join:
    """Pass on the leader's stream, from its first chunk."""

    stream: Stream
    flight: Flight


@dataclass(frozen=True, slots=True)
class Share:
    """Serve the answer to another request's upstream call, which has meanwhile been stored."""

    entry: Entry
    pieces: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ShareError:
    """Pass on the error with which the upstream answered the leader."""

    response: Response


class Again(Enum):
    """Decide again: the leader's call is over, and its answer cannot be shared."""

    AGAIN = "again"


# -- on_response


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to a whole batch, and the entries of the inputs that the upstream was asked for."""

    body: bytes
    parts: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer is stored under a new key."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Updated:
    """The answer has replaced an older one."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Bypassed:
    """The answer is not stored, because the request bypasses the cache."""

    bypass: Bypass


type Kept = Stored | Updated | Skipped | Bypassed


# -- on_failure


@dataclass(frozen=True, slots=True)
class ServeStale:
    """An expired entry stands in for an upstream that answered with `status`, or did not answer (None)."""

    entry: Entry
    pieces: Sequence[bytes]
    status: int | None
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """There is no answer."""

    skipped: Skipped


FAULT = Fail(Skipped(Skip.FAULT, Skip.FAULT))
"""The cache itself failed."""


type Answer = Serve | Join | Share | ShareError | ServeStale | Refuse
"""What answers a request without an upstream call of its own."""

type Ending = Answer | Kept | Fail
"""How an exchange ends."""
