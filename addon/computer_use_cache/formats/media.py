"""Describes a picture, sound or file inside a request in a few words: type, bytes, pixels.

Only the head of its data is decoded, and none of it is shown: a screenshot has a million characters.
"""

from __future__ import annotations

import base64
import binascii
import io

import imagesize

from computer_use_cache.formats import data_url

_HEAD = 512 * 1024
"""Characters of base64 (a multiple of 4) in which to look for the size: a JPEG may begin with a preview of 64 KiB."""
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_LONGEST_LINK = 300


def of_part(part: object) -> str | None:
    """Describes a part of a message, in the spellings of all APIs; None if it is not a picture, sound or file."""
    match part:
        case {"image_url": {"url": str(url)}} | {"image_url": str(url)} | {"video_url": {"url": str(url)}}:
            return describe_url(url)
        case {"source": {"data": str(data), **source}}:
            return describe(str(source.get("media_type", "")), data)
        case {"source": {"url": str(url)}} | {"file": {"file_data": str(url)}} | {"file_data": str(url)}:
            return describe_url(url)
        case {"image": {"source": {"bytes": str(data)}, **source}}:
            return describe(f"image/{source.get('format')}", data)
        case {"inlineData": {"data": str(data), **source}} | {"inline_data": {"data": str(data), **source}}:
            return describe(str(source.get("mimeType") or source.get("mime_type")), data)
        case {"fileData": {"fileUri": str(uri)}} | {"file_data": {"file_uri": str(uri)}}:
            return describe_url(uri)
        case {"input_audio": {"data": str(data), **source}}:
            return describe(f"audio/{source.get('format')}", data)
        case {"type": "image_generation_call", "result": str(data)}:
            return describe("image", data)
    return None


def describe(kind: str, data: str) -> str:
    """`[image/png, 182,344 bytes, 1280 x 800 pixels]`, for base64 `data` of the type `kind`."""
    size = len(data) * 3 // 4 - data[-2:].count("=")
    pixels = pixel_size(data)
    return f"[{kind or 'data'}, {size:,} bytes{f', {pixels[0]} x {pixels[1]} pixels' if pixels else ''}]"


def describe_url(url: str) -> str:
    """The same for a data URL; any other URL is shown as it is."""
    head, kind, is_base64 = data_url.split(url)
    if not head:
        return f"[{url[:_LONGEST_LINK]}{'…' if len(url) > _LONGEST_LINK else ''}]"
    data = url[len(head) :]
    return describe(kind, data) if is_base64 else f"[{kind or 'data'}, {len(data):,} characters]"


def pixel_size(data: str) -> tuple[int, int] | None:
    """Width and height from the header of a PNG, JPEG, GIF or WebP file."""
    try:
        head = base64.b64decode(data[:_HEAD].translate({ord("-"): "+", ord("_"): "/"}) + "==")
    except (binascii.Error, ValueError):
        return None
    if not head.startswith(_PICTURES):
        return None
    try:
        width, height = imagesize.get(io.BytesIO(head))
    except Exception:  # what a client sends may break off anywhere
        return None
    return (width, height) if width > 0 and height > 0 else None
