"""The request of an entry as it is kept: what the key was made of and the provider was sent, without its pictures.

A screenshot of a megabyte beside an answer of a kilobyte would fill the store with what only its digest is needed of.
"""

from __future__ import annotations

import hashlib
import re
import string
from typing import Any

_LONG = 1024
"""Shorter texts are kept as they are."""
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
_ALPHABET = (string.ascii_letters + string.digits + "+/_-").encode()
_DIGEST = re.compile(rb"<sha256:[0-9a-f]{64} of [0-9]+ characters>")


def lacks_media(body: bytes) -> bool:
    """Whether a recorded body holds a digest in the place of data."""
    return _DIGEST.search(body) is not None


def without_media(value: Any) -> Any:
    """`value` (JSON) with the digest of each long base64 text in its place; equal texts stay equal."""
    match value:
        case str() if len(value) > _LONG:
            return _digested(value)
        case dict():
            return {name: without_media(item) for name, item in value.items()}
        case list():
            return [without_media(item) for item in value]
    return value


def _digested(text: str) -> str:
    """A text with its digest in place of its data, if it is base64, alone or in a data URL. No regular expression reads
    the data: on a screenshot it would hold the interpreter for milliseconds."""
    found = _DATA_URL.match(text)
    head = found[0] if found else ""
    data = text.removeprefix(head)
    plain = data.removesuffix("=").removesuffix("=")
    if len(plain) < _LONG or not plain.isascii() or plain.encode().translate(None, _ALPHABET):
        return text
    return f"{head}<sha256:{hashlib.sha256(data.encode()).hexdigest()} of {len(data)} characters>"
