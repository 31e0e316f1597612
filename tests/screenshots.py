"""Screens of a form, drawn with Pillow: what moves on them, what a person would act on, and the files agents send."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

SIZE = (640, 480)
CLOCK = (500, 4, 636, 28)
"""Where the clock is, with room for every digit."""


def font(size: int) -> Any:
    return ImageFont.load_default(size)


def screen(
    *, clock: str = "9:41:07 AM", name: str = "Ada", price: str = "9.90", caret: bool = False, bar: int = 0
) -> Image.Image:
    """A form with a clock. `bar` is the height of a typed l, | or I of a thin font behind the name."""
    picture = Image.new("RGB", SIZE, "white")
    on = ImageDraw.Draw(picture)
    on.text((630, 8), clock, font=font(14), fill="#333", anchor="ra")
    on.rectangle((20, 60, 300, 92), outline="black")
    on.text((28, 66), name, font=font(16), fill="black")
    end = 30 + int(font(16).getlength(name))
    if caret:
        on.rectangle((end, 65, end + 1, 86), fill="black")
    if bar:
        on.rectangle((end, 86 - bar, end + 1, 85), fill="black")
    on.text((20, 140), f"Express {price} EUR", font=font(16), fill="black")
    return picture


def png(picture: Image.Image, *, level: int = 6, texts: dict[str, str] | None = None, **more: Any) -> bytes:
    info = PngImagePlugin.PngInfo()
    for keyword, text in (texts or {}).items():
        info.add_text(keyword, text)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=level, pnginfo=info, **more)
    return file.getvalue()


def jpeg(picture: Image.Image, **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **({"quality": 75} | more))
    return file.getvalue()


def webp(picture: Image.Image, **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", **more)
    return file.getvalue()


def scaled(picture: Image.Image) -> Image.Image:
    """As agents make a screenshot smaller before they send it."""
    return picture.resize((400, 300), Image.Resampling.LANCZOS)


def coded(file: bytes) -> str:
    return base64.b64encode(file).decode()


def exif(*, orientation: int | None = None, when: str = "2026:11:26 09:41:07") -> Image.Exif:
    data = Image.Exif()
    data[0x0132] = when
    if orientation is not None:
        data[0x0112] = orientation
    return data
