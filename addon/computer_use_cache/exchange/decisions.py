"""What can be decided about a request, and how an exchange can end: closed unions of frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.errors import RequestError
from computer_use_cache.flights.flight import Flight, Stream
from computer_use_cache.models import Absent, Bypass, Entry, Response, Skipped

type Kinds = tuple[tuple[str, int], ...]
"""The kinds of values that were put into a recorded answer, and how many of each; empty for an exact hit."""


# -- decide


class Serve(msgspec.Struct, frozen=True, gc=False):
    """The store answers: `pieces` are the body of the entry's answer in the shape that was asked for."""

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
    """Not a decision: making it would hold up the event loop."""

    POSTPONE = "postpone"


# -- follow


@dataclass(frozen=True, slots=True)
class Join:
    """Pass on the stream of the call that is followed, from its first chunk."""

    stream: Stream
    flight: Flight


@dataclass(frozen=True, slots=True)
class Share:
    """Serve the answer to another request's call, which has been stored meanwhile."""

    entry: Entry
    pieces: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ShareError:
    """Pass on the error with which the upstream answered the call that was followed."""

    response: Response


class Again(Enum):
    """Decide again: the call that was followed is over and answers nobody else."""

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
    """The answer passed by the cache."""

    bypass: Bypass


type Kept = Stored | Updated | Skipped | Bypassed


# -- on_failure


@dataclass(frozen=True, slots=True)
class ServeStale:
    """An expired entry stands in for the upstream, which has answered with `status`, None if it has not answered."""

    entry: Entry
    pieces: Sequence[bytes]
    status: int | None
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """There is no answer."""

    skipped: Skipped


type Answer = Serve | Join | Share | ShareError | ServeStale | Refuse
"""What answers a request without a call of its own."""

type Ending = Answer | Kept | Fail
"""How an exchange ends."""
