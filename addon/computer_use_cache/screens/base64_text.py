"""Reads a few bytes of a file out of its base64 text: decoding a whole screenshot takes milliseconds."""

from __future__ import annotations

import base64
import binascii

_STANDARD = str.maketrans("-_", "+/")


class Base64Text:
    """A file as base64, in the standard or the URL-safe alphabet, with or without padding."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.size = len(text) * 3 // 4 - text[-2:].count("=")

    def read(self, start: int, count: int) -> bytes:
        """The bytes from `start` on, fewer where the file ends. Raises ValueError if the text there is not base64."""
        first = start // 3
        quads = self._text[first * 4 : -(-(start + count) // 3) * 4]
        return _decoded(quads)[start - first * 3 :][:count]

    def decoded(self) -> bytes:
        """The whole file. Raises ValueError unless the text is base64 from end to end."""
        return _decoded(self._text)


def encoded(file: bytes) -> str:
    """A file as standard base64."""
    return base64.b64encode(file).decode()


def _decoded(text: str) -> bytes:
    if "-" in text or "_" in text:
        text = text.translate(_STANDARD)
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
