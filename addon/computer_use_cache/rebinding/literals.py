"""Finds exact texts that stand alone: an id inside a longer word, or a folder whose name is the beginning of another's,
is not found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from computer_use_cache.rebinding.kinds import compiled

_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_BREAKS = frozenset(b" \t\n\r\0\"'`()[]{}<>,;:=|/")
"""No word, number or path continues past one of these."""
_ESCAPED = (b"\\n", b"\\t", b"\\r")
"""In JSON inside a text, a letter before a value may be the end of such an escape."""

_UNMISTAKABLE = 16
"""An underscore joins words; a text of at least this length counts even if it is joined to another."""


class Literals:
    """A set of texts to be found in UTF-8, at each place the longest. Takes time linear in what is searched.

    With `inside_words`, long ones count inside longer words, too, like the token in `/bot123456:AAE…/sendMessage`.
    """

    def __init__(self, texts: Iterable[bytes], *, inside_words: bool = False) -> None:
        self._inside_words = inside_words
        self._texts = frozenset(filter(None, texts))
        self._lengths = sorted({len(text) for text in self._texts}, reverse=True)
        longest_first = sorted(self._texts, key=lambda text: (-len(text), text))
        alternatives = "|".join(re.escape(text).decode("latin-1") for text in longest_first)
        self._pattern = compiled(alternatives, "latin-1") if alternatives else None

    def find(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where the texts stand, in order; none overlaps another."""
        at = 0
        while self._pattern is not None and (found := self._pattern.search(text, at)):
            start, at = found.start(), found.start() + 1
            for length in self._lengths:
                end = start + length
                if end <= len(text) and text[start:end] in self._texts and self._counts(text, start, end):
                    yield start, end
                    at = end
                    break

    def _counts(self, text: bytes, start: int, end: int) -> bool:
        return (self._inside_words and end - start >= _UNMISTAKABLE) or stands_alone(text, start, end)


def stands_alone(text: bytes, start: int, end: int) -> bool:
    """Whether the text from `start` to `end` is not merely a part of a longer word, number or path."""
    if (start == 0 or text[start - 1] in _BREAKS) and (end == len(text) or text[end] in _BREAKS):
        return True
    return _begins(text, start, end) and _ends(text, start, end)


def _begins(text: bytes, start: int, end: int) -> bool:
    if start == 0:
        return True
    before, first = text[start - 1], text[start]
    if text[max(0, start - 2) : start] in _ESCAPED:
        return True
    if first in b"/\\~":
        return before not in _WORD and before not in b".~-"
    if first not in _WORD:
        return True
    if before == ord(".") and chr(first).isdigit():
        return not chr(text[start - 2]).isdigit()
    if before == ord("_") and end - start >= _UNMISTAKABLE:
        return True
    return not _is_word(_last_character(text[max(0, start - 4) : start]), after_ascii=True)


def _ends(text: bytes, start: int, end: int) -> bool:
    following = text[end : end + 5].decode("utf-8", "ignore")
    if not following:
        return True
    last = text[end - 1]
    if last < 0x80 and last not in _WORD:
        return True
    if following[0] == "_" and end - start >= _UNMISTAKABLE:
        return True
    if _is_word(following[0], after_ascii=last < 0x80):
        return False
    is_path = b"/" in text[start:end] or b"\\" in text[start:end]
    if is_path and (following[0] == "-" or re.match(r"\.\w", following)):
        return False
    return not (chr(last).isdigit() and re.match(r"\.\d", following))


def _last_character(text: bytes) -> str:
    return text.decode("utf-8", "ignore")[-1:]


def _is_word(character: str, *, after_ascii: bool) -> bool:
    """Whether a character goes on with a word. Scripts without capitals are written without spaces around ASCII."""
    if character.isascii():
        return character.isalnum() or character == "_"
    return character.isalpha() and (not after_ascii or character.lower() != character.upper())
