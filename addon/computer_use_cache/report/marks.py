"""Two texts side by side, with the words marked that differ."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from computer_use_cache.report.views import Mark, Piece

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_SHOWN = 160
"""Characters of what both sides share that are shown on each side of a difference."""
_MOST_WORDS = 4000
"""Comparing takes quadratic time, so longer texts are marked from the first differing word to the last."""

type Pieces = tuple[Piece, ...]


def marked(left: str, right: str) -> tuple[Pieces, Pieces]:
    """Both texts in pieces. Long stretches that they share are cut in the middle."""
    before, after = _shared_ends(left, right)
    ends = len(left) - after, len(right) - after
    sides: tuple[list[Piece], list[Piece]] = ([Piece(Mark.SAME, left[:before])], [Piece(Mark.SAME, right[:before])])
    for is_equal, one, other in _words(left[before : ends[0]], right[before : ends[1]]):
        for pieces, text in zip(sides, (one, other), strict=True):
            pieces.append(Piece(Mark.SAME if is_equal else Mark.DIFFERENT, text))
    for pieces, text, end in zip(sides, (left, right), ends, strict=True):
        pieces.append(Piece(Mark.SAME, text[end:]))
    return _shortened(sides[0]), _shortened(sides[1])


def _shared_ends(left: str, right: str) -> tuple[int, int]:
    """How many characters both texts share at their beginnings and at their ends, in whole words."""
    words, others = _WORD.findall(left), _WORD.findall(right)
    at = 0
    while at < min(len(words), len(others)) and words[at] == others[at]:
        at += 1
    end = 0
    while end < min(len(words), len(others)) - at and words[-1 - end] == others[-1 - end]:
        end += 1
    return sum(map(len, words[:at])), sum(map(len, words[len(words) - end :]))


def _words(left: str, right: str) -> list[tuple[bool, str, str]]:
    """Each stretch as (whether both sides are equal, the left text, the right text)."""
    words, others = _WORD.findall(left), _WORD.findall(right)
    if len(words) + len(others) > _MOST_WORDS:
        return [(False, left, right)]
    found = SequenceMatcher(None, words, others, autojunk=False).get_opcodes()
    return [(tag == "equal", "".join(words[a:b]), "".join(others[c:d])) for tag, a, b, c, d in found]


def _shortened(pieces: list[Piece]) -> Pieces:
    shown: list[Piece] = []
    filled = [piece for piece in pieces if piece.text]
    for at, piece in enumerate(filled):
        before, after = _SHOWN * (at > 0), _SHOWN * (at < len(filled) - 1)
        left_out = len(piece.text) - before - after
        if piece.mark is Mark.DIFFERENT or left_out < _SHOWN:
            shown.append(piece)
            continue
        gap = Piece(Mark.LEFT_OUT, f" … {left_out:,} characters alike … ")
        ends = piece.text[:before], piece.text[len(piece.text) - after :]
        shown += [Piece(Mark.SAME, ends[0]), gap, Piece(Mark.SAME, ends[1])]
    return tuple(piece for piece in shown if piece.text)
