"""Keeps credentials out of what a run says in words."""

from __future__ import annotations

from computer_use_cache.credentials import detection
from computer_use_cache.diagnosis.differences import HIDDEN


def without_credentials(text: str) -> str:
    """The text with each credential in it replaced. Takes up to 5 ms for 100 KB."""
    for found in reversed(detection.find_in_text(text)):
        text = text[: found.start] + HIDDEN + text[found.end :]
    return text
