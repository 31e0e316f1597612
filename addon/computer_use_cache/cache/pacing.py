"""When each piece of a replayed stream is due: at once, as recorded, or at a number of tokens per second."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from computer_use_cache.models import Entry
from computer_use_cache.setting_values import Speed

_BYTES_PER_TOKEN = 4


def schedule(speed: Speed | float, pieces: Sequence[bytes], entry: Entry) -> list[tuple[float, bytes]]:
    """(seconds to wait, piece) for each piece of a replayed stream; empty if it is to be sent at once.

    A stream that is replayed byte for byte is cut where the recorded one was cut. If a JSON answer was recorded,
    `recorded` spreads the time it took evenly over the pieces.
    """
    if speed is Speed.INSTANT:
        return []
    as_recorded = len(pieces) == 1 and sum(size for size, _ in entry.chunks) == len(pieces[0])
    if as_recorded:
        ends = list(itertools.accumulate(size for size, _ in entry.chunks))
        pieces = [pieces[0][start:end] for start, end in itertools.pairwise((0, *ends))]
    if speed is not Speed.RECORDED:
        waits = [tokens / speed for tokens in _tokens(pieces)]
    elif as_recorded:
        waits = [milliseconds / 1000 for _, milliseconds in entry.chunks]
    else:
        waits = [entry.seconds / len(pieces)] * len(pieces)
    return list(zip(waits, pieces, strict=True))


def _tokens(pieces: Sequence[bytes]) -> list[int]:
    """A guess: providers send about one token per event, and a piece longer than the shortest one holds more text."""
    shortest = min(map(len, pieces))
    return [1 + (len(piece) - shortest) // _BYTES_PER_TOKEN for piece in pieces]
