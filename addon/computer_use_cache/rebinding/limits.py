"""Limits of an answer's length, which some agents compute from what the conversation leaves of the model's context.

A request that is a few tokens shorter then has another limit. An answer that fits within both is the same answer. Only
a limit that is no round number counts as computed; a round one is somebody's choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from computer_use_cache.formats.base import Json
from computer_use_cache.rebinding.kinds import LIMIT

_NAMES = frozenset(
    (
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "max_tokens_to_sample"),
        *("maxTokens", "maxOutputTokens", "num_predict"),
    )
)
_MARK = f"\0{LIMIT.name}\0"


def take_out(body: Json) -> Iterator[str]:
    """Put a mark in place of each computed limit in a template's body. Lists hold messages and tools, and no limit of
    a request."""
    for name, member in body.items():
        if isinstance(member, dict):
            yield from take_out(member)
        elif name in _NAMES and type(member) is int and not _is_round(member):
            body[name] = _MARK
            yield str(member)


def allow(moved: Iterable[tuple[tuple[str, str], str]], tokens: int) -> bool:
    """Whether an answer of this length fits within the limits among the values that moved (`Moves.pairs`)."""
    return all(tokens < min(int(text), int(now)) for (kind, text), now in moved if kind == LIMIT.name)


def _is_round(limit: int) -> bool:
    return limit < 1000 or limit % 100 == 0 or limit % 256 == 0
