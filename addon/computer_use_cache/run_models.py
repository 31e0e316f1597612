"""The values that describe a run: what one agent did from its start to its end, call by call."""

from __future__ import annotations

import secrets
from enum import StrEnum

import msgspec

from computer_use_cache.models import NOTHING, Cost, Outcome

OWN_RUN = "COMPUTER_USE_CACHE_RUN"
"""The environment variable that gives the private proxy of `run` the id of its run."""
GIVEN_ANSWER = "COMPUTER_USE_CACHE_ANSWER"
"""The environment variable that names the file with the answer to give at the fork, if its run is one."""
CALL_LINES = "COMPUTER_USE_CACHE_LINES"
"""The environment variable with a proxy's `LineStyle`."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class LineStyle(StrEnum):
    """How a proxy prints a line for each call."""

    NONE = "none"
    PLAIN = "plain"
    COLOUR = "colour"
    JSON = "json"


class Fork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the run with the id `run` left the path of an earlier one.

    Its first `after` answered calls repeat the earlier run's. The next one goes to `model`, or if that is "" to the
    model that it names. Entries from there on go into a `namespace` of their own, so that they replace none of the
    earlier run's.
    """

    run: str
    after: int
    model: str = ""

    @property
    def namespace(self) -> str:
        """As in X-Cache-Namespace."""
        return f"fork {self.run}"


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run. Times are in Unix seconds.

    `id` is short and sorts by time. `name` is the command line of `run`, the value of `X-Cache-Run`, or the beginning
    of the conversation. `command`, `folder`, `flags` (settings by name) and `base_url` are those of `run`, empty for a
    run seen by `start`. `ended` is the time of the last call while the run has no exit `status`. `parent` is the id of
    the run that this one is a fork or a replay of. `forks` led to it, the oldest first: a fork may be forked again.
    `bindings` is the CACHE_BIND that `run` set. The command of an `imported` run was written by somebody else.
    """

    id: str
    name: str
    began: float
    ended: float
    command: tuple[str, ...] = ()
    folder: str = ""
    flags: dict[str, str] = {}
    base_url: bool = False
    status: int | None = None
    parent: str = ""
    bindings: str = ""
    forks: tuple[Fork, ...] = ()
    imported: bool = False

    @property
    def is_fork(self) -> bool:
        """Whether it is a fork itself, not the replay of one."""
        return bool(self.forks) and self.forks[-1].run == self.id

    @property
    def origin(self) -> str:
        """What it repeats, such as `fork of 88ziw6ryb8k2`; "" if nothing."""
        return f"{'fork' if self.is_fork else 'replay'} of {self.parent}" if self.parent else ""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a run, without its texts: the store finds the request and the answer by `key`.

    `at` is when the request arrived, in Unix seconds, and `seconds` how long its client waited for the whole answer.
    `key` is that of the entry that answered it or that its answer was stored under, or ""; `asked` is the key of the
    question itself, which differs from `key` for a rebound hit. `cost` was saved by a hit, a stale or a coalesced
    answer and spent by every other outcome. `reason` says in words why the call was bypassed or refused, or why its
    answer was not stored. `near_key` and `near_place` name the most similar recorded request of a miss and the first
    place where it differs. `rebound` counts the values that were replaced in the answer.
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


def new_id(now: float) -> str:
    """The id of a run that begins at `now` (Unix seconds). Ids sort by time. A busy proxy begins dozens of runs in a
    tenth of a second: their random ends make it unlikely that two of them get the same id."""
    number, digits = int(now * 10), ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits + "".join(secrets.choice(_DIGITS) for _ in range(5))
