"""An entry, or the record of its request, as bytes: a version byte, then a zstd frame with a checksum. Never pickle.
A long base64 text is stored as the bytes it encodes.

Bytes that cannot be read (another version, a truncated or damaged frame) decode to None, which counts as a miss.

The frames use a dictionary of text that is common in the APIs' bodies, which makes small frames a third smaller. A
version's dictionary never changes; a new dictionary needs a new version.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import zstandard
from msgspec.structs import astuple

from computer_use_cache.models import Entry, RequestRecord, Shape
from computer_use_cache.run_models import Call, Run

_VERSION = b"\x02"
_READABLE = (_VERSION, b"\x01")
"""The first version had no dictionary; its frames are read the same way."""
_LEVEL = 3
_DICTIONARY = zstandard.ZstdCompressionDict(
    Path(__file__).with_name("codec_dictionary.txt").read_bytes(), dict_type=zstandard.DICT_TYPE_RAWCONTENT
)
_DICTIONARY.precompute_compress(level=_LEVEL)
_UNREADABLE = (zstandard.ZstdError, ValueError, TypeError, KeyError, MemoryError, msgpack.UnpackException)
"""MemoryError: a damaged frame may claim to hold any number of bytes."""
_SHAPES = {str(shape): shape for shape in Shape}
_FIRST_FIELDS = 15
"""How many fields an entry had at first."""
_REQUEST_FIELDS = 5
"""Earlier versions also stored a record's parts."""
_LATER_DEFAULTS = Entry.__struct_defaults__[_FIRST_FIELDS - len(Entry.__struct_fields__) :]


class _Contexts(threading.local):
    """zstd's contexts must not be shared between threads, and creating one costs more than coding a small entry."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=_DICTIONARY, write_checksum=True, write_dict_id=False
        )
        self.decompressor = zstandard.ZstdDecompressor(dict_data=_DICTIONARY)


_contexts = _Contexts()


def encode(entry: Entry) -> bytes:
    """The bytes to store. Fields that were added later are left out while all have their defaults, so that the bytes
    stay the same and older versions can read them.
    """
    fields = astuple(entry)
    return _frame(fields[:_FIRST_FIELDS] if fields[_FIRST_FIELDS:] == _LATER_DEFAULTS else fields)


def encode_request(record: RequestRecord) -> bytes:
    """The bytes to store, without the record's parts, which do not compress, and its media."""
    return _frame((record.upstream, record.path, record.query, record.headers, record.body))


def encode_run(run: Run) -> bytes:
    """The bytes to store."""
    return _frame(msgspec.to_builtins(run))


def encode_calls(calls: Sequence[Call]) -> bytes:
    """The bytes to store: calls that are stored together take a fraction of the space."""
    return _frame(msgspec.to_builtins(calls))


def decoded_size(data: bytes) -> int:
    """The size of `data` when it is decompressed, as its header says; 0 if that is missing."""
    try:
        return max(zstandard.frame_content_size(data[1:65]), 0)
    except zstandard.ZstdError:
        return 0


def encode_media(text: str) -> bytes | None:
    """The bytes that a base64 text encodes, in either alphabet, padded or not; None if they would not give back exactly
    this text."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
    except binascii.Error:
        return None
    return data if text in _spellings(data) else None


def decode(data: bytes) -> Entry | None:
    """The entry in `data`, or None if this version cannot read all of it."""
    try:
        key, format_name, shape, *rest = _fields(data)
        return Entry(key, format_name, _SHAPES[shape], *rest)
    except _UNREADABLE:
        return None


def decode_request(data: bytes) -> RequestRecord | None:
    """The record in `data`, or None if this version cannot read all of it."""
    try:
        return RequestRecord(*_fields(data)[:_REQUEST_FIELDS])
    except _UNREADABLE:
        return None


def decode_run(data: bytes) -> Run | None:
    """The run in `data`, or None if this version cannot read all of it."""
    try:
        return msgspec.convert(_fields(data), Run)
    except _UNREADABLE:
        return None


def decode_calls(data: bytes) -> list[Call]:
    """The calls in `data`, none if this version cannot read all of them."""
    try:
        return msgspec.convert(_fields(data), list[Call])
    except _UNREADABLE:
        return []


def decode_media(data: bytes, digest: str) -> str | None:
    """The base64 text that encodes `data` and has that SHA-256 (in hex); None if no text does."""
    return next((text for text in _spellings(data) if hashlib.sha256(text.encode()).hexdigest() == digest), None)


def _spellings(data: bytes) -> Iterator[str]:
    for encoded in (base64.b64encode, base64.urlsafe_b64encode):
        text = encoded(data).decode()
        yield text
        yield text.rstrip("=")


def _frame(fields: Any) -> bytes:
    frame: bytes = _contexts.compressor.compress(msgpack.packb(fields, unicode_errors="surrogatepass"))
    return _VERSION + frame


def _fields(data: bytes) -> Any:
    if not data.startswith(_READABLE):
        raise ValueError("another version")
    frame = _contexts.decompressor.decompress(data[1:], allow_extra_data=False)
    return msgpack.unpackb(frame, use_list=False, unicode_errors="surrogatepass")
