"""Takes the content coding off a request's body, within a bound: a few bytes may stand for gigabytes."""

from __future__ import annotations

import zlib

import zstandard
from mitmproxy import http

from computer_use_cache.errors import RequestError

LARGEST_REQUEST = 128 * 1024 * 1024
"""Bytes of a body that is not streamed, as it comes and decoded. No model API takes more than 100 MB."""


def body_of(request: http.Request) -> bytes:
    """The body without its content coding. Raises RequestError for one that cannot be taken off, or is a bomb."""
    sent, coding = request.raw_content or b"", request.headers.get("content-encoding", "identity").strip().lower()
    try:
        match coding:
            case "identity":
                return sent
            case "gzip" | "deflate":
                inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
                body = inflater.decompress(sent, LARGEST_REQUEST + 1)
                # What follows the end would be read by the provider, and not by the key.
                is_whole = inflater.eof and not inflater.unused_data
            case "zstd":
                stream = zstandard.ZstdDecompressor().stream_reader(sent, read_across_frames=True)
                body, is_whole = stream.read(LARGEST_REQUEST + 1), True
            case _:
                message = f"Content-Encoding: {coding!r} is not gzip, deflate, zstd or identity."
                raise RequestError(415, message)
    except (zlib.error, zstandard.ZstdError):
        body, is_whole = b"", False
    if len(body) > LARGEST_REQUEST:
        raise RequestError(413, f"The request is larger than {LARGEST_REQUEST} bytes.")
    if not is_whole:
        raise RequestError(400, f"The request body is not valid {coding}.")
    return body
