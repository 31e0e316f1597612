"""A picture, sound or file inside a request or an answer, and its description: type, bytes, pixels.

Only the head of its data is decoded, and none of it is shown: a screenshot has a million characters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from dataclasses import dataclass

from computer_use_cache.formats import data_url, placeholder

_HEAD = 512 * 1024
"""Characters of base64 (a multiple of 4) in which to look for the size: a JPEG may begin with a preview of 64 KiB."""
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_LONGEST_LINK = 300


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, sound or file. `type` is its media type as far as the request says (`image/png`, `image`, ""). It is
    in `data`, as base64 or as the placeholder of a recorded request, unless only a `url` is given."""

    type: str
    data: str = ""
    url: str = ""

    @property
    def digest(self) -> str:
        """The name under which stores keep the data, "" without data."""
        digest = placeholder.digest_in(self.data)
        return digest or (hashlib.sha256(self.data.encode("utf-8", "replace")).hexdigest() if self.data else "")

    @property
    def is_picture(self) -> bool:
        return self.type.startswith("image")

    def __str__(self) -> str:
        """`[image/png, 182,344 bytes, 1280 x 800 pixels]`; the size in pixels only where the data is at hand."""
        if self.url or not (self.data or self.type):
            return _link(self.url)
        size = placeholder.characters_in(self.data) * 3 // 4 - self.data[-2:].count("=")
        pixels = pixel_size(self.data)
        return f"[{self.type or 'data'}, {size:,} bytes{f', {pixels[0]} x {pixels[1]} pixels' if pixels else ''}]"


def of_url(url: str, type: str = "") -> Media:
    """What a URL leads to, or holds if it is a data URL; `type` is what the request says of other URLs."""
    head, declared, is_base64 = data_url.split(url)
    return Media(declared, data=url[len(head) :]) if is_base64 else Media(declared or type, url=url)


def of_part(part: object) -> Media | None:
    """The picture, sound or file in a part of a message, in the spellings of all APIs; None for any other part."""
    match part:
        case {"image_url": {"url": str(url)}} | {"image_url": str(url)}:
            return of_url(url, "image")
        case {"source": {"data": str(data), **source}}:
            return Media(str(source.get("media_type", "")), data)
        case {"type": "image", "source": {"url": str(url)}}:
            return of_url(url, "image")
        case {"source": {"url": str(url)}} | {"file": {"file_data": str(url)}} | {"file_data": str(url)}:
            return of_url(url)
        case {"video_url": {"url": str(url)}} | {"video_url": str(url)}:
            return of_url(url, "video")
        case {"image": {"source": {"bytes": str(data)}, **source}}:
            return Media(f"image/{source.get('format')}", data)
        case {"inlineData": {"data": str(data), **source}} | {"inline_data": {"data": str(data), **source}}:
            return Media(str(source.get("mimeType") or source.get("mime_type")), data)
        case {"fileData": {"fileUri": str(uri)}} | {"file_data": {"file_uri": str(uri)}}:
            return of_url(uri)
        case {"input_audio": {"data": str(data), **source}}:
            return Media(f"audio/{source.get('format')}", data)
        case {"type": "image_generation_call", "result": str(data)} | {"b64_json": str(data)}:
            return Media("image", data)
    return None


def pixel_size(data: str) -> tuple[int, int] | None:
    """Width and height from the header of a PNG, JPEG, GIF or WebP file."""
    try:
        head = base64.b64decode(data[:_HEAD].translate({ord("-"): "+", ord("_"): "/"}) + "==")
    except (binascii.Error, ValueError):
        return None
    if not head.startswith(_PICTURES):
        return None
    import imagesize  # noqa: PLC0415  # it imports urllib.request, which commands would wait for

    try:
        width, height = imagesize.get(io.BytesIO(head))
    except Exception:  # a client may send a damaged file
        return None
    return (width, height) if width > 0 and height > 0 else None


def _link(url: str) -> str:
    head, kind, _ = data_url.split(url)
    if head:
        return f"[{kind or 'data'}, {len(url) - len(head):,} characters]"
    return f"[{url[:_LONGEST_LINK]}{'…' if len(url) > _LONGEST_LINK else ''}]"
