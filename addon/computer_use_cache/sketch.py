"""What makes two requests alike: 64-bit digests of their parts, of which two near requests share many.

The parts are each top-level field, each prefix of the conversation, and a few shingles (runs of words) of its first and
last item, chosen by their hash so that two texts with an edit between them choose mostly the same ones (a bottom-k
sketch: Broder, "On the resemblance and containment of documents", 1997).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from computer_use_cache import key

CONVERSATIONS = ("messages", "input", "contents")
"""The fields that hold a conversation's items, in the APIs that have one."""
_PREFIXES = 12
"""Of a long conversation the longest prefixes; a request that left it earlier is seldom the one meant."""
_SHINGLES = 6
_WORDS_PER_SHINGLE = 3
_TEXT_BYTES = 8192
"""Of a longer text its beginning and its end."""


def parts(group: tuple[str, ...], body: dict[str, Any]) -> tuple[int, ...]:
    """The digests of a request's body (as `key.parse_body` gives it, without what the key leaves out).

    Requests of different groups share none. Raises FormatError for a body without a canonical form.
    """
    salt = blake2b("\0".join(group).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    found = (int.from_bytes(blake2b(part, key=salt, digest_size=8).digest(), signed=True) for part in _parts(body))
    return tuple(dict.fromkeys(found))


def _parts(body: dict[str, Any]) -> Iterator[bytes]:
    for name, value in body.items():
        text = key.canonical(value)
        items = value if name in CONVERSATIONS and isinstance(value, list) and value else None
        if items is None:
            yield b"field" + name.encode("utf-8", "surrogatepass") + text
            yield from _shingles(text)
        else:
            written = [key.canonical(item) for item in items]
            yield from _prefixes(written)
            yield from _shingles(written[0])
            yield from _shingles(written[-1])


def _prefixes(items: list[bytes]) -> list[bytes]:
    chain, found = b"", []
    for item in items:
        chain = blake2b(chain + item, digest_size=16).digest()
        found.append(b"prefix" + chain)
    return found[-_PREFIXES:]


def _shingles(text: bytes) -> list[bytes]:
    half = _TEXT_BYTES // 2
    words = re.findall(rb"[^\W_]+", text if len(text) <= _TEXT_BYTES else text[:half] + text[-half:])
    starts = range(max(len(words) - _WORDS_PER_SHINGLE, 0) + 1)
    runs = {b" ".join(words[start : start + _WORDS_PER_SHINGLE]) for start in starts}
    return [b"shingle" + run for run in sorted(runs, key=zlib.crc32)[:_SHINGLES]]
