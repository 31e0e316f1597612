"""`image-pixels`: picture files count as equal if they show the same pixels, whichever program wrote them and when.

Pillow, an optional dependency, decodes them. Pictures that it cannot decode, animations and pictures larger than any
screen are left alone.
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
"""An 8K screen; 128 MiB when decoded. The limit matters because a file of a few kilobytes can claim any size."""
_REMEMBERED = 4096
_ORIENTATION = 0x0112
"""The Exif tag that rotates a photograph."""


def can_decode() -> bool:
    """True if Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


class Pixels:
    """Replaces a picture in base64, alone or in a data URL, with a digest of its pixels.

    Slow: tens of milliseconds for a screenshot. Recent digests are remembered, because a conversation repeats its
    pictures in every turn.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def named(self, text: str) -> str:
        """`text` with the digest in place of the data; unchanged if it is not a picture that can be compared."""
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
    """Size, mode and digest of the pixels; "" if they cannot be decoded."""
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
    except Exception:  # Pillow raises anything on files that are damaged or cut short
        return ""
