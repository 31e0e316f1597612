"""Parses a request without reading its known pictures again: they are lifted out of its JSON, and put back afterwards.

A conversation sends all its screenshots with every step. Parsing and writing megabytes takes far longer than comparing
them with what is remembered.
"""

from __future__ import annotations

import re
import secrets

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import walking
from computer_use_cache.formats.base import Json
from computer_use_cache.keys.canonical_json import parse_body
from computer_use_cache.screens.picture import known_picture

_LONG = 128 * 1024
"""A shorter body is parsed at once."""
_OPENING = re.compile(rb'"(?=(?:data:image/[a-z.+-]{1,20};base64,)?(?:iVBORw0KGgo|/9j/|UklGR))')
"""The quote before a PNG, JPEG or WebP. A pattern that begins with the quote itself is found 30 times as quickly as one
that looks at the byte before it."""
_BEFORE_A_VALUE = b":[, \t\r\n"
"""One of these stands before the quote of a value. A quote inside a string has a backslash before it."""
_NONCE = secrets.token_hex(16)
"""No client can know the names that stand for pictures while a body is parsed."""


def parse(body: bytes) -> Json:
    """`parse_body` of the same body, with the same errors."""
    texts: dict[str, str] = {}
    lifted = _lift(body, texts) if len(body) >= _LONG else body
    if not texts:
        return parse_body(body)
    left = dict(texts)
    try:
        parsed = walking.map_texts(parse_body(lifted), lambda text: left.pop(text, text))
    except (RequestError, FormatError, RecursionError):
        return parse_body(body)
    return parse_body(body) if left else parsed  # a picture that is the name of a member, say


def _lift(body: bytes, texts: dict[str, str]) -> bytes:
    """The body with a name in place of each known picture, whose texts are added to `texts` by name."""
    pieces: list[bytes] = []
    at = done = 0
    while opening := _OPENING.search(body, at):
        start = opening.end()
        if body[start - 2] not in _BEFORE_A_VALUE:
            at = start
            continue
        end = body.find(b'"', start)
        if end < 0:
            break
        if picture := known_picture(body, start - 1, end + 1):
            name = f"{_NONCE} {len(texts)}"
            texts[name] = picture.text
            pieces += (body[done:start], name.encode())
            done = end
        at = end + 1
    return b"".join((*pieces, body[done:]))
