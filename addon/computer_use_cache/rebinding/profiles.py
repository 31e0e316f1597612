"""What is known about particular agents (profiles.toml): bookkeeping in their prompts that does not matter to the
model."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from computer_use_cache.rebinding.kinds import Kind, Kinds


@dataclass(frozen=True)
class Profile:
    """One agent's profile. `leave_out` holds pointers to what its templates leave out; `name` and `version` are part of
    them."""

    name: str = ""
    version: int = 0
    user_agent: str = ""
    leave_out: tuple[str, ...] = ()
    kinds: Kinds = Kinds()


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
            table["user_agent"],
            tuple(table["leave_out"]),
            _kinds(table["patterns"]),
        )
        for name, table in tables.items()
    )


def _kinds(patterns: Mapping[str, str]) -> Kinds:
    return Kinds(Kind(name, (pattern,), labelled=True, ignore_case=True) for name, pattern in patterns.items())


def profile_for(user_agent: str) -> Profile:
    """The profile of the agent that sends this User-Agent, `NONE` for any other."""
    found = (profile for profile in profiles() if re.search(profile.user_agent, user_agent, re.IGNORECASE))
    return next(found, NONE)
