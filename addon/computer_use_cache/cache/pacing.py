"""When each piece of a replayed answer is due: at once, as recorded, at a number of tokens a second, or not before a
minimum time.

An agent acts on an answer as soon as it has it. If that is before the page has changed, it sees the old page.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from computer_use_cache.models import Entry, Shape
from computer_use_cache.setting_values import Floor, Speed

_BYTES_PER_TOKEN = 4


def schedule(
    speed: Speed | Floor | float, shape: Shape, pieces: Sequence[bytes], entry: Entry
) -> list[tuple[float, bytes]]:
    """(seconds to wait, piece) for each piece of an answer replayed in `shape`; empty if it is to be sent at once.

    A JSON answer is one piece, sent after the recorded or the minimum time. A stream that is replayed byte for byte is
    cut where the recorded one was. If the stream was made from a JSON answer, `recorded` spreads the time evenly.
    """
    match speed:
        case Speed.INSTANT:
            return []
        case Floor(seconds):
            return [(seconds, b"".join(pieces))]
        case Speed.RECORDED if shape is Shape.JSON:
            return [(entry.seconds, b"".join(pieces))]
        case Speed.RECORDED:
            cut = _as_recorded(pieces, entry)
            return cut or [(entry.seconds / len(pieces), piece) for piece in pieces]
        case tokens_a_second:
            return [] if shape is Shape.JSON else _at_tokens(tokens_a_second, _cut(pieces, entry) or pieces)


def _as_recorded(pieces: Sequence[bytes], entry: Entry) -> list[tuple[float, bytes]]:
    waits = [milliseconds / 1000 for _, milliseconds in entry.chunks]
    return list(zip(waits, _cut(pieces, entry), strict=False))


def _cut(pieces: Sequence[bytes], entry: Entry) -> list[bytes]:
    """The one piece of a stream replayed byte for byte, cut where the recorded one was; empty for any other."""
    if len(pieces) != 1 or sum(size for size, _ in entry.chunks) != len(pieces[0]):
        return []
    ends = list(itertools.accumulate(size for size, _ in entry.chunks))
    return [pieces[0][start:end] for start, end in itertools.pairwise((0, *ends))]


def _at_tokens(tokens_a_second: float, pieces: Sequence[bytes]) -> list[tuple[float, bytes]]:
    return [(tokens / tokens_a_second, piece) for tokens, piece in zip(_tokens(pieces), pieces, strict=True)]


def _tokens(pieces: Sequence[bytes]) -> list[int]:
    """A guess: providers send about one token per event, and a piece longer than the shortest one holds more text."""
    shortest = min(map(len, pieces))
    return [1 + (len(piece) - shortest) // _BYTES_PER_TOKEN for piece in pieces]
