"""Features of a request, as 64-bit digests: similar requests share many of them.

Features are: every top-level field; parts of the conversation that survive an edit elsewhere in it (items by position,
prefixes and suffixes); and a few shingles (runs of words) of its first and last item. Shingles are chosen by smallest
hash, so that two versions of a text choose mostly the same ones (a bottom-k sketch: Broder, "On the resemblance and
containment of documents", 1997). Tool call ids differ in every run and are left out.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterator
from hashlib import blake2b

from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys import canonical_json, normalizers

_PLACES = 3
"""How many leading and trailing items become features of their own."""
_SHINGLES = 4
_WORDS_PER_SHINGLE = 3
_TEXT_BYTES = 8192
"""Of longer texts only the beginning and the end are read."""


def parts(format: Format, group: tuple[str, ...], body: Json) -> tuple[int, ...]:
    """The features of the body of a request to this API, as it enters the key (see `Cache.key_body`).

    Requests of different groups share none. Raises FormatError for a body without a canonical form.
    """
    salt = blake2b("\0".join(group).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    found = (
        int.from_bytes(blake2b(part, key=salt, digest_size=8).digest(), signed=True)
        for part in _parts(format.conversation, normalizers.without_call_ids(format, body))
    )
    return tuple(dict.fromkeys(found))


def _parts(conversation: str, body: Json) -> Iterator[bytes]:
    for name, value in body.items():
        text = canonical_json.canonical(value)
        items = value if name == conversation and isinstance(value, list) and value else None
        if items is None:
            yield b"field" + name.encode("utf-8", "surrogatepass") + text
            yield from _shingles(text)
        else:
            written = [canonical_json.canonical(item) for item in items]
            yield from _conversation(written)
            yield from _shingles(written[0])
            yield from _shingles(written[-1])


def _conversation(items: list[bytes]) -> Iterator[bytes]:
    """Features of one step of a task. Most include the number of items: adjacent steps share the rest."""
    number = len(items)
    step = b"%d " % number
    for place in {*range(number)[:_PLACES], *range(number)[-_PLACES:]}:
        yield b"item" + step + b"%d " % place + items[place]
    beginnings, ends = _chain(items), _chain(items[::-1])
    for length in _lengths(number):
        yield b"beginning" + step + beginnings[length - 1]
        yield b"end" + ends[length - 1]
    for beginning in beginnings[-2:]:  # matches a conversation that lost its last item, and the one it was taken from
        yield b"beginning" + beginning


def _chain(items: list[bytes]) -> list[bytes]:
    """Digests of the first item, of the first two, and so on."""
    chain, found = b"", []
    for item in items:
        chain = blake2b(chain + item, digest_size=16).digest()
        found.append(chain)
    return found


def _lengths(number: int) -> Iterator[int]:
    """All, all but one, and powers of two: wherever an edit is, long runs on one side of it stay the same."""
    powers = (2**power for power in range(1, number.bit_length()))
    return (length for length in dict.fromkeys((number, number - 1, *powers)) if length > 0)


def _shingles(text: bytes) -> list[bytes]:
    half = _TEXT_BYTES // 2
    return _chosen_shingles(text if len(text) <= _TEXT_BYTES else text[:half] + text[-half:])


@functools.lru_cache(maxsize=512)
def _chosen_shingles(text: bytes) -> list[bytes]:
    """Remembered because the steps of a task share their tools and their first item."""
    words = re.findall(rb"[^\W_]+", text)
    starts = range(len(words) - _WORDS_PER_SHINGLE + 1)
    runs = {b" ".join(words[start : start + _WORDS_PER_SHINGLE]) for start in starts}
    return [b"shingle" + run for run in sorted(runs, key=zlib.crc32)[:_SHINGLES]]
