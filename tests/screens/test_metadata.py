"""What is left out of a picture's key: metadata that no decoder of pixels reads, and nothing else."""

from __future__ import annotations

import base64
import struct
import textwrap
import zlib
from collections.abc import Callable

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

from PIL import Image

from computer_use_cache.screens.picture import Picture
from computer_use_cache.screens.pixels import name
from screenshots import coded, exif, jpeg, png, screen, webp

SMALL = screen().crop((0, 50, 320, 160))
PLAIN = png(SMALL)
HEAD, REST = PLAIN[:33], PLAIN[33:]
"""A PNG's signature and IHDR, and its other chunks."""


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes) -> bytes:
    return HEAD + chunk(kind, body) + REST


def at_end(kind: bytes, body: bytes) -> bytes:
    return PLAIN[:-12] + chunk(kind, body) + PLAIN[-12:]


def key_text(file: bytes) -> str:
    return Picture(coded(file)).key_text


def tiff(value: int, order: str = ">") -> bytes:
    """Exif data in which a program and an orientation are named."""
    head = b"MM\0*" if order == ">" else b"II*\0"
    entries = struct.pack(f"{order}HHI4s", 0x0131, 2, 4, b"abc\0") + struct.pack(
        f"{order}HHIHH", 0x0112, 3, 1, value, 0
    )
    return head + struct.pack(f"{order}IH", 8, 2) + entries + struct.pack(f"{order}I", 0)


WRITTEN_BY_CLOCKS = {
    "tIME": with_chunk(b"tIME", bytes((7, 234, 11, 26, 9, 41, 7))),
    "tEXt": with_chunk(b"tEXt", b"date:create\x002026-11-26T09:41:07+00:00"),
    "zTXt": with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a long comment" * 9)),
    "iTXt": with_chunk(b"iTXt", b"Title\0\0\0\0\0Hello"),
    "XMP without an orientation": with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>"),
    "eXIf without an orientation": with_chunk(b"eXIf", exif().tobytes()[6:]),
    "tEXt at the end, as ImageMagick writes it": at_end(b"tEXt", b"date:modify\x002026-11-26T09:41:07+00:00"),
    "several": HEAD + chunk(b"tEXt", b"a\0b") + chunk(b"tIME", b"1234567") + REST,
}


@pytest.mark.parametrize("file", WRITTEN_BY_CLOCKS.values(), ids=WRITTEN_BY_CLOCKS)
def test_a_png_has_the_key_of_the_same_file_without_its_metadata(file: bytes) -> None:
    assert key_text(file) == coded(PLAIN)
    assert name(coded(file)) == name(coded(PLAIN))


KEPT = {
    "pHYs": with_chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    "gAMA": with_chunk(b"gAMA", struct.pack(">I", 45455)),
    "sRGB": with_chunk(b"sRGB", b"\0"),
    "iCCP": png(SMALL, icc_profile=b"a profile"),
    "a raw profile": with_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 8\n4d4d002a"),
    "XMP with an orientation": with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>6</>"),
    "XMP that is compressed": with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>")),
    "Exif that is not understood": with_chunk(b"eXIf", b"Exif\0\0II*\0"),
    "Exif with two orientations": with_chunk(b"eXIf", tiff(6).replace(struct.pack(">H", 0x0131), b"\1\x12")),
    "a text between two chunks of pixels": HEAD + chunk(b"IDAT", b"1") + chunk(b"tEXt", b"a\0b") + REST,
    "a text before the head": PLAIN[:8] + chunk(b"tEXt", b"a\0b") + PLAIN[8:],
    "cut short": with_chunk(b"tEXt", b"a\0b")[:-20],
    "a length beyond the end": HEAD + struct.pack(">I4s", 2**31, b"tEXt") + REST,
    "no metadata": PLAIN,
    "not a picture": b"\x89PNG is a file format" * 9,
    "a GIF": b"GIF89a" + bytes(90),
}


@pytest.mark.parametrize("file", KEPT.values(), ids=KEPT)
def test_what_may_matter_stays(file: bytes) -> None:
    text = coded(file)
    assert Picture(text).key_text is text


@pytest.mark.parametrize("order", ["<", ">"])
def test_of_exif_the_orientation_stays(order: str) -> None:
    turned, other_program = tiff(6, order), tiff(6, order).replace(b"abc", b"xyz")
    assert key_text(with_chunk(b"eXIf", turned)) == key_text(with_chunk(b"eXIf", other_program))
    assert key_text(with_chunk(b"eXIf", turned)) != key_text(with_chunk(b"eXIf", tiff(3, order)))
    assert key_text(with_chunk(b"eXIf", turned)) != coded(PLAIN)


FILES: dict[str, Callable[..., bytes]] = {
    "png": png,
    "jpeg": jpeg,
    "webp": webp,
    "lossless webp": lambda picture, **more: webp(picture, lossless=True, **more),
}


@pytest.mark.parametrize("made", FILES.values(), ids=FILES)
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_files_of_two_moments_have_one_key_for_each_way_up(made: Callable[..., bytes], orientation: int | None) -> None:
    one, other, turned = (
        made(SMALL, exif=exif(orientation=way, when=when))
        for way, when in ((orientation, "9"), (orientation, "10"), (3, "9"))
    )
    assert one != other
    assert key_text(one) == key_text(other) != key_text(turned)


@pytest.mark.parametrize("made", FILES.values(), ids=FILES)
@pytest.mark.parametrize("orientation", [None, 6])
def test_what_is_left_is_a_picture_with_the_same_pixels_and_way_up(
    made: Callable[..., bytes], orientation: int | None
) -> None:
    file = made(SMALL, exif=exif(orientation=orientation))
    assert name(key_text(file)) == name(coded(file)) != ""


def test_a_jpeg_comment_is_left_out() -> None:
    assert jpeg(SMALL, comment="at nine") != jpeg(SMALL, comment="at ten, or so")
    assert key_text(jpeg(SMALL, comment="at nine")) == key_text(jpeg(SMALL, comment="at ten, or so"))
    assert key_text(jpeg(SMALL, comment="at nine")) == coded(jpeg(SMALL))


def test_other_segments_and_pixels_of_a_jpeg_stay() -> None:
    assert key_text(jpeg(SMALL, dpi=(72, 72))) != key_text(jpeg(SMALL, dpi=(96, 96)))
    assert key_text(jpeg(SMALL)) != key_text(jpeg(Image.new("RGB", SMALL.size)))


def test_what_looks_like_a_comment_among_the_pixels_of_a_jpeg_stays() -> None:
    plain = jpeg(SMALL)
    assert key_text(plain[:-2] + b"\xff\xfe\0\x04ab" + plain[-2:]) != coded(plain)


TIMED = WRITTEN_BY_CLOCKS["tEXt"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(base64.urlsafe_b64encode(TIMED).decode(), id="the URL-safe alphabet"),
        pytest.param(coded(TIMED).rstrip("="), id="without padding"),
    ],
)
def test_base64_may_be_written_in_other_ways(text: str) -> None:
    assert Picture(text).key_text == coded(PLAIN)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\n".join(textwrap.wrap(coded(TIMED), 76)), id="lines"),
        pytest.param(coded(TIMED)[:-8] + "*" + coded(TIMED)[-7:], id="a character of another alphabet"),
        pytest.param(coded(TIMED)[:-8] + "é" + coded(TIMED)[-7:], id="a letter"),
        pytest.param("", id="nothing"),
        pytest.param("https://example.org/a.png", id="a link"),
    ],
)
def test_what_is_not_plain_base64_stays(text: str) -> None:
    assert Picture(text).key_text is text


def test_a_data_url_keeps_its_beginning() -> None:
    assert Picture(f"data:image/png;base64,{coded(TIMED)}").key_text == f"data:image/png;base64,{coded(PLAIN)}"
