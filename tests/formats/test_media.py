"""What is shown of pictures and files inside requests."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from computer_use_cache.formats import media
from computer_use_cache.formats.media import Media
from pictures import PNG, coded

JPEG_START = b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
JPEG_SIZE = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 800, 1280, 3) + b"\x01\x22\0\x02\x11\x01\x03\x11\x01"
JPEG = JPEG_START + JPEG_SIZE + b"\xff\xd9" + b"\0" * 64
PREVIEW = b"\xff\xe1" + struct.pack(">H", 65_000) + b"\0" * 64_998
GIF = b"GIF89a" + struct.pack("<HH", 1280, 800) + b"\0" * 64
WEBP = b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I4x", 10) + (1279).to_bytes(3, "little") + (799).to_bytes(3, "little")


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        pytest.param(PNG, True, id="PNG"),
        pytest.param(JPEG, True, id="JPEG"),
        pytest.param(JPEG_START + PREVIEW + JPEG_SIZE + b"\0" * 64, True, id="JPEG behind a large preview"),
        pytest.param(GIF, True, id="GIF"),
        pytest.param(WEBP + b"\0" * 64, True, id="WebP"),
        pytest.param(PNG[:17], False, id="PNG cut short"),
        pytest.param(JPEG_START[:9], False, id="JPEG cut short"),
        pytest.param(b"RIFF", False, id="four bytes"),
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"<svg width='1280' height='800'/>", False, id="a type that is not read"),
    ],
)
def test_a_picture_is_described_by_type_bytes_and_pixels(data: bytes, pixels: bool) -> None:
    told = f"[image/x, {len(data):,} bytes{', 1280 x 800 pixels' if pixels else ''}]"
    assert str(Media("image/x", coded(data))) == told
    assert str(media.of_url(f"data:image/x;base64,{coded(data)}")) == told


def test_a_large_picture_is_described_without_its_data() -> None:
    data = coded(PNG + bytes(1_200_000))
    assert str(Media("image/png", data)) == f"[image/png, {len(PNG) + 1_200_000:,} bytes, 1280 x 800 pixels]"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://example.com/a.png", "[https://example.com/a.png]"),
        ("https://example.com/" + "a" * 400, f"[https://example.com/{'a' * 280}…]"),
        ("data:text/plain,hello", "[text/plain, 5 characters]"),
        ("data:;base64,AAAA", "[data, 3 bytes]"),
        ("data:image/png;base64,!!not base64!!", "[image/png, 10 bytes]"),
        ("data:" + "x" * 1000, f"[data:{'x' * 295}…]"),
        ("", "[]"),
    ],
)
def test_a_url_is_shown_unless_it_holds_data(url: str, told: str) -> None:
    assert str(media.of_url(url)) == told


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded(PNG)}"}}, id="chat"),
        pytest.param({"type": "input_image", "image_url": f"data:image/png;base64,{coded(PNG)}"}, id="responses"),
        pytest.param(
            {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{coded(PNG)}"}, id="computer use"
        ),
        pytest.param(
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": coded(PNG)}},
            id="messages",
        ),
        pytest.param({"inlineData": {"mimeType": "image/png", "data": coded(PNG)}}, id="gemini"),
        pytest.param({"inline_data": {"mime_type": "image/png", "data": coded(PNG)}}, id="gemini, as Python writes it"),
    ],
)
def test_a_picture_is_found_where_each_api_has_it(part: dict[str, Any]) -> None:
    assert str(media.of_part(part)) == f"[image/png, {len(PNG)} bytes, 1280 x 800 pixels]"


@pytest.mark.parametrize("part", [None, "text", 1, [], {}, {"type": "text"}, {"image_url": 1}, {"source": "x"}])
def test_other_parts_are_not_pictures(part: object) -> None:
    assert media.of_part(part) is None
