"""What is known about particular agents (profiles.toml): bookkeeping in their prompts that does not matter to the
model, and names of elements that differ from run to run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from computer_use_cache.rebinding.kinds import Kind, Kinds

_ENDS = 100_000
"""The bytes at either end of a request in which its system prompt is looked for. A history's pictures lie between."""


@dataclass(frozen=True)
class Profile:
    """One agent's profile. `leave_out` holds pointers to what its templates leave out; `name` and `version` are part of
    them."""

    name: str = ""
    version: int = 0
    user_agent: str = ""
    """A pattern; "" if the agent sends its SDK's."""
    prompts: tuple[bytes, ...] = ()
    """Beginnings of its system prompts. A request that holds one is the agent's."""
    leave_out: tuple[str, ...] = ()
    kinds: Kinds = Kinds()
    one_shot: bool = False
    """Whether it asks everything in one request and never names an earlier answer by its id."""
    carries_history: bool = False
    """Whether it repeats earlier answers in full. Once a request does, none of its conversation names one by its id."""

    def fits(self, user_agent: str, text: bytes) -> bool:
        """Whether a request with this User-Agent and text is the agent's."""
        if self.user_agent:
            return re.search(self.user_agent, user_agent, re.IGNORECASE) is not None
        return any(prompt in text for prompt in self.prompts)


NONE = Profile()
"""The profile of an unknown client."""


@cache
def profiles() -> tuple[Profile, ...]:
    """All of profiles.toml. Raises ValueError for a pattern that is wrong."""
    with Path(__file__).with_name("profiles.toml").open("rb") as file:
        tables = tomllib.load(file)
    return tuple(
        Profile(
            name,
            table["version"],
            table.get("user_agent", ""),
            tuple(prompt.encode() for prompt in table.get("prompts", ())),
            tuple(table.get("leave_out", ())),
            Kinds([*_bookkeeping(table.get("patterns", {})), *_elements(table.get("elements", {}))]),
            table.get("one_shot", False),
            table.get("carries_history", False),
        )
        for name, table in tables.items()
    )


def _bookkeeping(patterns: Mapping[str, str]) -> Iterator[Kind]:
    for name, pattern in patterns.items():
        yield Kind(name, (pattern,), labelled=True, ignore_case=True)


def _elements(patterns: Mapping[str, Sequence[str]]) -> Iterator[Kind]:
    for name, places in patterns.items():
        yield Kind(name, tuple(places), numbered=True, labelled=True, placed=True)


def profile_for(user_agent: str, body: bytes) -> Profile:
    """The profile of the agent that sends a request with this User-Agent and body, `NONE` for any other."""
    ends = body[:_ENDS] + body[-_ENDS:]
    return next((profile for profile in profiles() if profile.fits(user_agent, ends)), NONE)
