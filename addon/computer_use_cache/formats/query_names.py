"""Parameters of a URL that hold a credential. They are recognised by their names, in any spelling."""

from __future__ import annotations

import functools
import re

CALLERS = ("key", "access_token", "api_key", "subscription_key", "apikey", "x_api_key", "auth_token")
"""Those in which clients of an API send their own credential, in snake case."""
_CREDENTIAL = re.compile(
    r"(?:^|_)(?:key|code|sig|signature|auth|authorization|credentials?|passw(?:or)?d|secret"
    r"|token|api_?key|access_?key)$"
)
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|-")


@functools.lru_cache(1024)
def snake(name: str) -> str:
    """A name in snake case: `api_key` for `apiKey`, `Api-Key` and `API_KEY`."""
    return _WORD_BEGINS.sub("_", name).lower()


def is_callers(name: str) -> bool:
    """Whether the parameter says who the caller is. It goes upstream and is no part of the question."""
    return snake(name) in CALLERS


def is_credential(name: str) -> bool:
    """Whether the parameter may be a credential, the caller's or another one such as a signature."""
    return _CREDENTIAL.search(snake(name)) is not None
