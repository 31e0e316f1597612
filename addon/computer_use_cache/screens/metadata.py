"""Metadata that no decoder of pixels reads: times, comments and texts that a program writes into a picture file.

A file without them has the same picture, so a key is made from the file without them. In doubt a file is left as it is,
which costs a miss: one that is not well-formed, and texts that may say which way up the picture is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from computer_use_cache.screens.base64_text import Base64Text

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LONGEST_KEYWORD = 80
_RAW_PROFILE = b"Raw profile type "
"""ImageMagick keeps colour profiles and Exif in texts with such keywords."""
_XMP = b"XML:com.adobe.xmp\0\0"
"""The keyword of an XMP text, and the flag that says it is not compressed."""
_LONGEST_TEXT = 64 * 1024
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
"""The Exif tag that turns a photograph."""
_WEBP_HAS_EXIF = 0x08


class Cut(NamedTuple):
    """A part of a file that says nothing about the picture, and the bytes that take its place."""

    start: int
    end: int
    instead: bytes = b""


class _Malformed(Exception):
    pass


def cuts(file: Base64Text) -> list[Cut]:
    """What can be taken out of a picture file, in order; nothing for a file that is not understood from end to end."""
    try:
        head = file.read(0, 12)
        if head.startswith(_PNG):
            return list(_png_cuts(file))
        if head.startswith(b"\xff\xd8\xff"):
            return list(_jpeg_cuts(file))
        if head.startswith(b"RIFF") and head[8:] == b"WEBP":
            return _webp_cuts(file)
    except (ValueError, struct.error, _Malformed):
        pass
    return []


def without(file: bytes, parts: list[Cut]) -> bytes:
    """A file with cuts made."""
    kept, at = [], 0
    for cut in parts:
        kept += [file[at : cut.start], cut.instead]
        at = cut.end
    return b"".join([*kept, file[at:]])


def _png_cuts(file: Base64Text) -> Iterator[Cut]:
    at, previous, cut_after_data, kind = len(_PNG), b"", False, b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", file.read(at, 8))
        end = at + length + 12
        if end > file.size or (not previous and kind != b"IHDR") or (cut_after_data and kind == b"IDAT"):
            raise _Malformed  # between two chunks of picture data even a comment may stop a decoder
        instead = _png_chunk_instead(file, at, length, kind)
        if instead is not None:
            yield Cut(at, end, instead)
            cut_after_data = cut_after_data or previous == b"IDAT"
        else:
            previous = kind
        at = end


def _png_chunk_instead(file: Base64Text, at: int, length: int, kind: bytes) -> bytes | None:
    """What takes the place of a chunk; None for one that stays."""
    if kind == b"tIME":
        return b""
    if kind in _PNG_TEXTS:
        return None if _may_tell_orientation(file, at + 8, length) else b""
    if kind == b"eXIf" and (exif := _oriented(file.read(at + 8, length))) is not None:
        return struct.pack(">I", len(exif)) + kind + exif + struct.pack(">I", zlib.crc32(kind + exif)) if exif else b""
    return None


def _may_tell_orientation(file: Base64Text, start: int, length: int) -> bool:
    opening = file.read(start, min(length, _LONGEST_KEYWORD))
    if opening.startswith(_RAW_PROFILE):
        return True
    if not opening.startswith(_XMP.partition(b"\0")[0]):
        return False
    is_plain = opening.startswith(_XMP) and length <= _LONGEST_TEXT
    return not is_plain or b"Orientation" in file.read(start, length)


def _jpeg_cuts(file: Base64Text) -> Iterator[Cut]:
    at = 2
    while True:
        mark, kind, length = struct.unpack(">BBH", file.read(at, 4))
        if mark != 0xFF or length < 2 or at + 2 + length > file.size:
            raise _Malformed
        if kind == 0xDA:  # the picture data
            return
        end = at + 2 + length
        if kind == 0xFE:
            yield Cut(at, end)
        elif kind == 0xE1 and (segment := file.read(at + 4, length - 2)).startswith(_EXIF):
            exif = _oriented(segment.removeprefix(_EXIF))
            if exif is not None:
                instead = struct.pack(">BBH", 0xFF, kind, len(_EXIF + exif) + 2) + _EXIF + exif if exif else b""
                yield Cut(at, end, instead)
        at = end


def _webp_cuts(file: Base64Text) -> list[Cut]:
    (declared,) = struct.unpack("<I", file.read(4, 4))
    if declared + 8 != file.size:
        raise _Malformed
    found: list[Cut] = []
    at, flags_at, exif_stays = 12, 0, False
    while at < file.size:
        kind, length = struct.unpack("<4sI", file.read(at, 8))
        end = at + 8 + length + length % 2
        if end > file.size:
            raise _Malformed
        if kind == b"VP8X":
            flags_at = at + 8
        elif kind == b"EXIF":
            exif = _oriented(file.read(at + 8, length).removeprefix(_EXIF))
            exif_stays = exif_stays or exif != b""
            if exif is not None:
                found.append(Cut(at, end, kind + struct.pack("<I", len(exif)) + exif if exif else b""))
        at = end
    if not found:
        return []
    size = declared + sum(len(cut.instead) - (cut.end - cut.start) for cut in found)
    head = [Cut(4, 8, struct.pack("<I", size))]
    if flags_at and not exif_stays:
        head.append(Cut(flags_at, flags_at + 1, bytes([file.read(flags_at, 1)[0] & ~_WEBP_HAS_EXIF])))
    return head + found


def _oriented(exif: bytes) -> bytes | None:
    """Exif data with nothing but its orientation: b"" if it has none, None if it is not clear."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    entries = [struct.unpack_from(f"{order}HHIH", exif, at + 2 + 12 * number) for number in range(count)]
    orientations = [entry for entry in entries if entry[0] == _ORIENTATION]
    if not orientations:
        return b""
    if len(orientations) > 1 or orientations[0][1:3] != (3, 1):
        return None
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, _ORIENTATION, 3, 1, orientations[0][3], 0, 0)
