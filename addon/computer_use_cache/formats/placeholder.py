"""The placeholder of a long base64 text in a recorded request. The store keeps the text once, under its digest."""

from __future__ import annotations

import re

PATTERN = re.compile(r"<sha256:([0-9a-f]{64}) of ([0-9]+) characters>")


def make(digest: str, characters: int) -> str:
    """The placeholder of a text of this length and digest."""
    return f"<sha256:{digest} of {characters} characters>"


def digest_in(text: str) -> str | None:
    """The digest that a recorded string holds in place of its base64; None if it is another text."""
    found = PATTERN.fullmatch(text.rpartition(",")[2])
    return found[1] if found else None


def characters_in(text: str) -> int:
    """The length of a base64 text, or of the one that a placeholder stands for."""
    found = PATTERN.fullmatch(text)
    return int(found[2]) if found else len(text)
