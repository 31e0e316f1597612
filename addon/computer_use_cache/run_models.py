"""The values that describe a run: what one agent did from its start to its end, call by call."""

from __future__ import annotations

import msgspec

from computer_use_cache.models import NOTHING, Cost, Outcome

OWN_RUN = "COMPUTER_USE_CACHE_RUN"
"""The environment variable that gives the private proxy of `run` the id of its run."""


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run. Times are in Unix seconds.

    `id` is short and sorts by time. `name` is the command line of `run`, the value of `X-Cache-Run`, or the beginning
    of the conversation. `command` and `folder` are those of `run`, empty for a run seen by `start`. `ended` is the time
    of the last call while the run has no exit `status`. `parent` is the id of the run that this one was forked from.
    `bindings` is the CACHE_BIND that `run` set.
    """

    id: str
    name: str
    began: float
    ended: float
    command: tuple[str, ...] = ()
    folder: str = ""
    status: int | None = None
    parent: str = ""
    bindings: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a run, without its texts: the store finds the request and the answer by `key`.

    `at` is when the request came, in Unix seconds, and `seconds` how long its client waited for the whole answer. `key`
    is that of the entry that answered it or that its answer was stored under, or ""; `asked` is the key
    of the question itself, which differs from `key` for a rebound hit. `cost` was saved by a hit, a stale or a
    coalesced answer and spent by every other outcome. `reason` says in words why the call was bypassed or refused, or
    why its answer was not stored. `near_key` and `near_place` name the most similar recorded request of a miss and the
    first place where it differs. `rebound` counts the values that were replaced in the answer.
    """

    at: float
    outcome: Outcome
    format: str
    path: str
    model: str = ""
    key: str = ""
    asked: str = ""
    seconds: float = 0.0
    status: int = 200
    cost: Cost = NOTHING
    reason: str = ""
    near_key: str = ""
    near_place: str = ""
    rebound: int = 0
