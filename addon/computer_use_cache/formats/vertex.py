"""Paths of Vertex AI that name another maker's model. Their bodies are those of that maker's API.

https://docs.anthropic.com/en/api/claude-on-vertex-ai
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_STREAMED = ":streamRawPredict"
_CLAUDE = re.compile(
    rf"/(projects/[^/]+/locations/[^/]+/publishers/anthropic/models/(?!count-tokens:)[^/:]+)(?::rawPredict|{_STREAMED})"
)
"""`count-tokens` stands where a model's name would, and counts the tokens of a message."""


def claude(path: str) -> str | None:
    """The project, the location and the model of a call to Claude, so that both methods share a key; else None."""
    if not path.endswith("redict"):  # every path of every API comes here first
        return None
    found = _CLAUDE.fullmatch(unquote(path))
    return found[1] if found else None


def with_model(path: str, model: str) -> str:
    """The path of a call to Claude with another model in it; any other path is left alone."""
    found = _CLAUDE.fullmatch(unquote(path))
    if not found:
        return path
    place = found[1].rpartition("/")[0]
    return f"/{place}/{quote(model, safe='@')}{unquote(path)[found.end(1) :]}"


def is_streamed(path: str) -> bool:
    """Whether a path names the method that streams."""
    return unquote(path).endswith(_STREAMED)
