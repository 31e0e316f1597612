"""Names that were probably meant by one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LEAST_SIMILAR = 0.8
"""At 0.8, `CACHE_MOED` is taken for CACHE_MODE, but another program's CACHE_URL for nothing."""


def meant(name: str, known: Iterable[str]) -> str:
    """The name that was probably meant by this one, "" if none is similar enough."""
    return next(iter(difflib.get_close_matches(name, known, 1, _LEAST_SIMILAR)), "")
