"""AWS event streams as bytes: frames of typed headers and a payload, with one checksum for the lengths and one for all.

Rules: https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from computer_use_cache.errors import FormatError
from computer_use_cache.models import Skip

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct(">III")
"""The length of the frame, the length of its headers, and the CRC-32 of these two."""
_CRC = struct.Struct(">I")
_STRING = 7
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of the other header types: true, false, byte, short, integer, long, timestamp, UUID."""
_SIZED = (6, _STRING)
"""Types whose length precedes the value: bytes and string."""


class Message(NamedTuple):
    """One frame: its headers of type string, and its payload."""

    headers: Mapping[str, str]
    payload: bytes


def parse(body: bytes) -> Iterator[Message]:
    """The messages of a whole stream. Raises FormatError where it was cut, or where a checksum is wrong."""
    at = 0
    while at < len(body):
        if len(body) - at < _PRELUDE.size:
            raise _cut()
        length, headers_length, prelude_crc = _PRELUDE.unpack_from(body, at)
        if zlib.crc32(body[at : at + 8]) != prelude_crc:
            raise FormatError("the checksum of a frame's lengths is wrong")
        end = at + length - _CRC.size
        headers_end = at + _PRELUDE.size + headers_length
        if headers_end > end:
            raise FormatError("a frame is shorter than its headers")
        if end + _CRC.size > len(body):
            raise _cut()
        if zlib.crc32(body[at:end]) != _CRC.unpack_from(body, end)[0]:
            raise FormatError("the checksum of a frame is wrong")
        yield Message(dict(_headers(body[at + _PRELUDE.size : headers_end])), body[headers_end:end])
        at = end + _CRC.size


def encode(message: Message) -> bytes:
    """The frame of a message."""
    headers = b"".join(_header(name.encode(), value.encode()) for name, value in message.headers.items())
    length = _PRELUDE.size + len(headers) + len(message.payload) + _CRC.size
    lengths = struct.pack(">II", length, len(headers))
    frame = lengths + _CRC.pack(zlib.crc32(lengths)) + headers + message.payload
    return frame + _CRC.pack(zlib.crc32(frame))


def _cut() -> FormatError:
    return FormatError("the stream breaks off inside a frame", Skip.UNFINISHED)


def _header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">BH", _STRING, len(value)) + value


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end].decode(), data[name_end]
            at = name_end + 1
            if kind in _SIZED:
                (size,) = struct.unpack_from(">H", data, at)
                at += 2
            else:
                size = _FIXED_SIZES[kind]
            if at + size > len(data):
                raise FormatError("a header is longer than its frame says")
            if kind == _STRING:
                yield name, data[at : at + size].decode()
            at += size
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise FormatError("the headers of a frame are malformed") from None
