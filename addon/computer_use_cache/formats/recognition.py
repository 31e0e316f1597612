"""Recognises a model call in a body that passes by unread: a JSON object with `model` and a prompt.

The body is scanned as it passes, so that nothing waits for it. Inside a string, quotes are escaped, so a prompt that
quotes such JSON is not taken for it.
"""

from __future__ import annotations

import re

_MODEL = re.compile(rb'"(?:model|modelId)"\s*:\s*"')
_PROMPT = re.compile(rb'"(?:messages|input|contents|prompt)"\s*:')
_LONGEST = 64
"""Bytes that are searched again with the next piece: more than a name and the white space after it take."""


class Scan:
    """One body. `is_model_call` becomes True as soon as both names have passed."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_model = self._has_prompt = False

    def feed(self, chunk: bytes) -> None:
        """Scan the next piece."""
        text = self._rest + chunk
        self._has_model = self._has_model or _MODEL.search(text) is not None
        self._has_prompt = self._has_prompt or _PROMPT.search(text) is not None
        self._rest = text[-_LONGEST:]

    @property
    def is_model_call(self) -> bool:
        """Whether what has passed looks like a model call."""
        return self._has_model and self._has_prompt
