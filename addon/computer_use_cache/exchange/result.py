"""The typed outcome of one request, from decision to display.

Nothing else is passed on: `rendering` makes every header, log line and comment from it, and nothing reads those back.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import msgspec
from msgspec.structs import replace

from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.exchange.decisions import (
    Bypassed,
    Ending,
    Fail,
    Join,
    Kinds,
    Refuse,
    Serve,
    ServeStale,
    Share,
    ShareError,
    Stored,
    Updated,
)
from computer_use_cache.models import Bypass, Cost, Entry, Fwd, Outcome, Skipped


class Storing(StrEnum):
    """What became of the answer of a miss; if it was not stored, a `Skipped` says why."""

    PENDING = "pending"
    """Not known yet: the headers of a stream are sent before it ends."""
    STORED = "stored"
    UPDATED = "updated"


class Result(msgspec.Struct, frozen=True, gc=False):
    """What became of one request: everything that is shown about it.

    `fwd` says why the store did not answer it, and is None for a hit and a refusal. `said` names the header or mode
    that is the reason, if one is. `status` is the upstream's, or that of a refusal. `age` and `ttl` are in seconds. A
    request is `collapsed` if another request's upstream call answered it. `saved` is the cost that it avoided.
    """

    outcome: Outcome
    model: str = ""
    key: str = ""
    fwd: Fwd | None = None
    status: int | None = None
    storing: Storing | Skipped | None = None
    bypass: Bypass | None = None
    said: str = ""
    near: Near | None = None
    age: int | None = None
    ttl: int | None = None
    collapsed: bool = False
    rebound: Kinds = ()
    not_rebound: str = ""
    saved: Cost | None = None
    error: str = ""
    """The message of a refusal."""


def of_hit(key: str, model: str, serve: Serve, now: float) -> Result:
    """The result of a hit, which the fast path makes thousands of times a second."""
    entry = serve.entry
    return Result(
        Outcome.HIT,
        model,
        entry.key if serve.rebound else key,
        age=_age(entry, now),
        ttl=_ttl(entry, now),
        rebound=serve.rebound,
        saved=entry.cost,
    )


def of_ending(known: Result, ending: Ending, now: float) -> Result:
    """The result of an exchange that ends like this; `known` is the result until then."""
    match ending:
        case Serve():
            return of_hit(known.key, known.model, ending, now)
        case Share(entry):
            saved = replace(entry.cost, seconds=0.0)  # it waited as long as the other request
            return replace(known, outcome=Outcome.COALESCED, collapsed=True, age=_age(entry, now), saved=saved)
        case ShareError(response):
            return replace(known, outcome=Outcome.COALESCED, collapsed=True, status=response.status)
        case Join():
            return replace(known, outcome=Outcome.COALESCED, collapsed=True)
        case ServeStale(entry):
            return replace(
                known,
                outcome=Outcome.STALE,
                fwd=Fwd.STALE,
                status=ending.status,
                collapsed=ending.collapsed,
                age=_age(entry, now),
                ttl=_ttl(entry, now),
                saved=replace(entry.cost, seconds=0.0),  # it waited for the upstream
            )
        case Refuse(error, near):
            return Result(Outcome.REFUSED, known.model, known.key, status=error.status, near=near, error=error.message)
        case Stored():
            return replace(known, storing=Storing.STORED)
        case Updated():
            return replace(known, storing=Storing.UPDATED)
        case Bypassed():
            return known
        case Skipped():
            return known if known.bypass else replace(known, storing=ending)
        case Fail(skipped):
            return known if known.bypass else replace(known, storing=skipped)
        case _:
            assert_never(ending)


def _age(entry: Entry, now: float) -> int:
    return max(int(now - entry.created_at), 0)


def _ttl(entry: Entry, now: float) -> int | None:
    return None if entry.expires_at is None else int(entry.expires_at - now)
