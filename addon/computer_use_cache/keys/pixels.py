"""Two picture files are one when they show the same pixels in the same way, whatever clock or program wrote them.

Pillow, an extra, decodes them; what it cannot decode, what moves, and what is larger than any screen is left as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.util
import io
import threading

from computer_use_cache.formats import data_url

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MOST_PIXELS = 2**25
"""A screen of 8K has as many; decoded, they take 128 MiB. A file of a few kilobytes can claim any number."""
_REMEMBERED = 4096
_ORIENTATION = 0x0112
"""The Exif tag that turns a photograph."""


def can_decode() -> bool:
    """Whether Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


class Pixels:
    """Turns the base64 text of a picture, or a data URL of one, into what names its pixels. Slow: tens of milliseconds
    for a screenshot. Those met last are remembered, as a conversation shows them again with every turn."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def named(self, text: str) -> str:
        """The name, after what stands before the data; `text` itself where it is no picture that can be compared."""
        head, kind, is_base64 = data_url.split(text)
        start = len(head) if is_base64 and kind.startswith("image/") else 0
        file = _file(text[start:])
        if file is None:
            return text
        digest = hashlib.sha256(file).digest()
        with self._lock:
            name = self._known.pop(digest, None)
        if name is None:
            name = _name(file)
        with self._lock:
            self._known[digest] = name
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return text[:start] + name if name else text


def _file(data: str) -> bytes | None:
    try:
        return base64.b64decode(data.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, ValueError):
        return None


def _name(file: bytes) -> str:
    """Size, mode and digest of the pixels; "" where they cannot be had."""
    from PIL import Image  # noqa: PLC0415 (an extra)

    try:
        with Image.open(io.BytesIO(file), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS or getattr(image, "is_animated", False):
                return ""
            orientation = image.getexif().get(_ORIENTATION, 1)
            mode = image.mode
            plain = image.convert("RGBA") if mode in ("P", "PA") or "transparency" in image.info else image
            digest = hashlib.sha256(plain.tobytes()).hexdigest()
            return f"<{image.width} x {image.height} {mode} {orientation} {digest}>"
    except Exception:  # what a client sends may break off anywhere
        return ""
