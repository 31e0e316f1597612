"""Decodes the bodies of requests within a bound: a few bytes may stand for gigabytes."""

from __future__ import annotations

import zlib

import brotli
import zstandard
from mitmproxy import http

from computer_use_cache.errors import RequestError

LARGEST_REQUEST = 128 * 1024 * 1024
"""Bytes of a body that is not streamed, both as sent and decoded. No model API takes more than 100 MB."""
_PIECE = 64 * 1024
_MOST_MEMBERS = 1000
"""Of a gzip body. Millions of empty ones would hold up the event loop."""


def body_of(request: http.Request) -> bytes:
    """The decoded body. Raises RequestError for an unknown coding, for what does not decode, and for a bomb."""
    sent, coding = request.raw_content or b"", request.headers.get("content-encoding", "identity").strip().lower()
    try:
        match coding:
            case "identity":
                return sent
            case "gzip" | "x-gzip" | "deflate":
                body, is_whole = _inflate(sent)
            case "br":
                body, is_whole = _unbrotli(sent)
            case "zstd":
                stream = zstandard.ZstdDecompressor().stream_reader(sent, read_across_frames=True)
                body, is_whole = stream.read(LARGEST_REQUEST + 1), True
            case _:
                message = f"Content-Encoding: {coding!r} is not gzip, deflate, br, zstd or identity."
                raise RequestError(415, message)
    except (zlib.error, zstandard.ZstdError, brotli.error):
        body, is_whole = b"", False
    if len(body) > LARGEST_REQUEST:
        raise RequestError(413, f"The request is larger than {LARGEST_REQUEST} bytes.")
    if not is_whole:
        raise RequestError(400, f"The request body is not valid {coding}.")
    return body


def _inflate(sent: bytes) -> tuple[bytes, bool]:
    """The decoded bytes, of a bomb somewhat more than LARGEST_REQUEST, and whether they are whole.

    A gzip file may consist of several members. A provider that reads only the first of them sees the same JSON,
    or none at all, because no JSON object begins with another one.
    """
    inflater, pieces, size, members = _inflater(), list[bytes](), 0, 1
    for start in range(0, len(sent), _PIECE):
        rest = sent[start : start + _PIECE]
        while rest and members <= _MOST_MEMBERS:
            if inflater.eof:
                inflater, members = _inflater(), members + 1
            pieces.append(inflater.decompress(rest, LARGEST_REQUEST + 1 - size))
            size += len(pieces[-1])
            if size > LARGEST_REQUEST:
                return b"".join(pieces), False
            rest = inflater.unused_data
    return b"".join(pieces), inflater.eof and members <= _MOST_MEMBERS


def _inflater() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


def _unbrotli(sent: bytes) -> tuple[bytes, bool]:
    """The decoded bytes, of a bomb somewhat more than LARGEST_REQUEST, and whether they are whole."""
    decoder, pieces, size = brotli.Decompressor(), list[bytes](), 0
    for start in range(0, len(sent), _PIECE):
        piece = decoder.process(sent[start : start + _PIECE], output_buffer_limit=LARGEST_REQUEST + 1)
        while size <= LARGEST_REQUEST:
            pieces.append(piece)
            size += len(piece)
            if decoder.can_accept_more_data():
                break
            piece = decoder.process(b"", output_buffer_limit=LARGEST_REQUEST + 1)
    return b"".join(pieces), decoder.is_finished()
