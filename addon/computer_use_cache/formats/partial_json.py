"""The complete part of JSON that was cut off, such as a tool's input at max_tokens, as Anthropic's SDKs read it."""

from __future__ import annotations

import re
from collections import deque

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json, load_object

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?P<end>")?|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


def load_cut(text: str) -> Json:
    """The object that begins here, up to its last whole value; raises FormatError if it has no whole value."""
    error = FormatError("the body is not JSON")
    for whole in reversed(_closed(text)):
        try:
            return load_object(whole.encode("utf-8", "surrogatepass"))
        except FormatError as found:
            error = found
    raise error


def _closed(text: str) -> list[str]:
    """The text up to its last value and up to the one before, each with its brackets closed: the last value may be half
    a number or word. Empty if the text was not cut."""
    open_: list[str] = []
    ends: deque[tuple[int, str]] = deque(maxlen=2)
    before = ""
    for token in _TOKEN.finditer(text):
        kind = token[0]
        if kind.startswith('"') and not token["end"]:
            break
        if kind in _CLOSING:
            open_.append(_CLOSING[kind])
        elif open_ and kind == open_[-1]:
            open_.pop()
        is_in_list = bool(open_) and open_[-1] == "]"
        if kind in ("{", "}", "[", "]") or before == ":" or (is_in_list and kind != ","):
            ends.append((token.end(), "".join(reversed(open_))))
        before = kind
    return [text[:end] + closing for end, closing in ends if open_]
