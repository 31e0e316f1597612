"""The request of an entry as it is kept: what the key was made of and the provider was sent, without its pictures.

A screenshot of a megabyte beside an answer of a kilobyte would fill the store with what only its digest is needed of.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

_LONG = 1024
"""Shorter texts are kept as they are."""
_BASE64 = re.compile(r"(data:[^,]{0,200};base64,)?([A-Za-z0-9+/_-]{1024,}={0,2})")


_DIGEST = re.compile(rb"<sha256:[0-9a-f]{64} of [0-9]+ characters>")


def lacks_media(body: bytes) -> bool:
    """Whether a recorded body holds a digest in the place of data."""
    return _DIGEST.search(body) is not None


def without_media(value: Any) -> Any:
    """`value` (JSON) with the digest of each long base64 text in its place; equal texts stay equal."""
    match value:
        case str() if len(value) > _LONG and (found := _BASE64.fullmatch(value)):
            digest = hashlib.sha256(found[2].encode()).hexdigest()
            return f"{found[1] or ''}<sha256:{digest} of {len(found[2])} characters>"
        case dict():
            return {name: without_media(item) for name, item in value.items()}
        case list():
            return [without_media(item) for item in value]
    return value
