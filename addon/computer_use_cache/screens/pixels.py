"""The pixels of a picture file: two files are one picture when they show the same pixels in the same way, whatever
program wrote them.

Pillow, an extra, decodes them. What it cannot decode, animations, and pictures larger than any screen are not compared.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from computer_use_cache.screens.base64_text import Base64Text

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_LOSSLESS_WEBP = b"VP8L"
_MOST_PIXELS = 2**25
"""A screen of 8K has as many; decoded, they take 128 MiB. A file of a few kilobytes can claim any number."""
COMPARABLE = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
"""The modes whose pixels Pillow can subtract."""
_ORIENTATION = 0x0112
"""The Exif tag that turns a photograph."""


def can_decode() -> bool:
    """Whether Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pixels of a picture; `mode` is what the file holds (RGB, a palette, …), `orientation` the way up.

    `is_lossy` says that one changed pixel may change others around it (JPEG, WebP)."""

    image: Image
    mode: str
    orientation: int
    is_lossy: bool

    @property
    def shape(self) -> tuple[tuple[int, int], str, int]:
        """What two pictures must share before their pixels can be compared."""
        return self.image.size, self.mode, self.orientation


def decode(data: str) -> Decoded | None:
    """The pixels of a picture in base64; None where they cannot be had. Slow: tens of milliseconds."""
    try:
        from PIL import Image  # noqa: PLC0415 (an extra)

        file = Base64Text(data).decoded()
        with Image.open(io.BytesIO(file), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS or getattr(image, "is_animated", False):
                return None
            orientation = image.getexif().get(_ORIENTATION, 1)
            mode = image.mode
            is_lossy = image.format == "JPEG" or (image.format == "WEBP" and file[12:16] != _LOSSLESS_WEBP)
            image.load()
            plain = image.convert("RGBA") if mode in ("P", "PA") or "transparency" in image.info else image.copy()
            return Decoded(plain, mode, orientation, is_lossy)
    except Exception:  # a client may send a damaged file
        return None


def name(data: str) -> str:
    """Size, mode, orientation and a digest of the pixels of a picture in base64; "" where they cannot be had."""
    found = decode(data)
    if found is None:
        return ""
    image = found.image
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return f"<{image.width} x {image.height} {found.mode} {found.orientation} {digest}>"
