"""Data URLs (RFC 2397): the one pattern for everything that looks for pictures, sounds and files in a body."""

from __future__ import annotations

import re

_HEAD = re.compile(r"data:([^,]{0,200}?)(;base64)?,")


def split(text: str) -> tuple[str, str, bool]:
    """(head up to its comma, type, whether base64 follows) of a data URL; ("", "", False) for any other text."""
    found = _HEAD.match(text)
    if found is None:
        return "", "", False
    return found[0], found[1].partition(";")[0], found[2] is not None


def base64_head(text: str) -> str:
    """The part of a data URL before its base64, "" for any other text."""
    head, _, is_base64 = split(text)
    return head if is_base64 else ""
