"""Helper routes: what agents ask a provider besides their model calls, such as which models there are.

Such an answer may be out of date a moment later, so live requests go upstream; recorded answers are only for `offline`.
"""

from __future__ import annotations

import re

NAME = "helper"
"""The `format` of their entries. It is no API's name."""

_QUESTIONS = re.compile(
    r"/(?:api/show|tokenize|detokenize)$"
    r"|:(?:computeTokens|loadCodeAssist|fetchAvailableModels|retrieveUserQuota)$"
    r"|/count-tokens:rawPredict$"
)
"""Paths to which a POST only asks a question."""


def is_helper(method: str, path: str) -> bool:
    """Whether a request to a path that is not cached only asks a question, and changes nothing."""
    return method in ("GET", "HEAD") or (method == "POST" and _QUESTIONS.search(path) is not None)
