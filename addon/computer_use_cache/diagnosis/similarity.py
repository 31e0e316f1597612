"""What makes two requests alike: 64-bit digests of their parts, of which two near requests share many.

The parts are each top-level field; of the conversation, what an edit anywhere in it leaves as it was (its items by
their place, its beginnings and its ends); and a few shingles (runs of words) of its first and last item, chosen by
their hash so that two texts with an edit between them choose mostly the same ones (a bottom-k sketch: Broder, "On the
resemblance and containment of documents", 1997). The ids of tool calls, which are others in every run, count nowhere.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from computer_use_cache.keys import canonical_json, normalizers

CONVERSATIONS = ("messages", "input", "contents")
"""The fields that hold a conversation's items, in the APIs that have one."""
_PLACES = 3
"""Of the first and of the last items, so many are parts by themselves."""
_SHINGLES = 4
_WORDS_PER_SHINGLE = 3
_TEXT_BYTES = 8192
"""Of a longer text its beginning and its end."""


def parts(group: tuple[str, ...], body: dict[str, Any]) -> tuple[int, ...]:
    """The digests of a request's body (as `canonical_json.parse_body` gives it, without what the key leaves out).

    Requests of different groups share none. Raises FormatError for a body without a canonical form.
    """
    salt = blake2b("\0".join(group).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    found = (
        int.from_bytes(blake2b(part, key=salt, digest_size=8).digest(), signed=True)
        for part in _parts(normalizers.without_call_ids(body))
    )
    return tuple(dict.fromkeys(found))


def _parts(body: dict[str, Any]) -> Iterator[bytes]:
    for name, value in body.items():
        text = canonical_json.canonical(value)
        items = value if name in CONVERSATIONS and isinstance(value, list) and value else None
        if items is None:
            yield b"field" + name.encode("utf-8", "surrogatepass") + text
            yield from _shingles(text)
        else:
            written = [canonical_json.canonical(item) for item in items]
            yield from _conversation(written)
            yield from _shingles(written[0])
            yield from _shingles(written[-1])


def _conversation(items: list[bytes]) -> Iterator[bytes]:
    """What names the same step of the same task: most parts hold the number of items, as the steps before and after
    share all the rest."""
    number = len(items)
    step = b"%d " % number
    for place in {*range(number)[:_PLACES], *range(number)[-_PLACES:]}:
        yield b"item" + step + b"%d " % place + items[place]
    beginnings, ends = _chain(items), _chain(items[::-1])
    for length in _lengths(number):
        yield b"beginning" + step + beginnings[length - 1]
        yield b"end" + ends[length - 1]
    for beginning in beginnings[-2:]:  # of one that lost its last item, and of one that has it still
        yield b"beginning" + beginning


def _chain(items: list[bytes]) -> list[bytes]:
    """The digests of the first item, the first two, and so on."""
    chain, found = b"", []
    for item in items:
        chain = blake2b(chain + item, digest_size=16).digest()
        found.append(chain)
    return found


def _lengths(number: int) -> Iterator[int]:
    """All, all but one, and the powers of two, so that an edit anywhere leaves much of one side whole."""
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
