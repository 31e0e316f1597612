"""The states of an exchange, and the transitions between them that are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class State(Enum):
    """How far one request has come."""

    DECIDING = auto()
    """It looks for an answer: in the store, then in the calls under way."""
    FOLLOWING = auto()
    """It waits for the upstream call of an identical request."""
    FORWARDED = auto()
    """Its own upstream call is under way."""
    STREAMING = auto()
    """The upstream's answer passes to the client and is recorded."""
    SETTLED = auto()
    """It has its one outcome: counted, logged, followers released."""


NEXT: Mapping[State, frozenset[State]] = {
    State.DECIDING: frozenset((State.FOLLOWING, State.FORWARDED, State.SETTLED)),
    State.FOLLOWING: frozenset((State.DECIDING, State.FORWARDED, State.SETTLED)),
    State.FORWARDED: frozenset((State.STREAMING, State.SETTLED)),
    State.STREAMING: frozenset((State.SETTLED,)),
    State.SETTLED: frozenset(),
}
