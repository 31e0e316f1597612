"""What mitmproxy calls with each chunk of a streamed answer: take off the content coding, record, pass on.

An exception here would hang the connection, so there is none: what cannot be decoded is not recorded.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterable

import brotli
import zstandard

from computer_use_cache.errors import SkipReason
from computer_use_cache.flights.flight import Flight
from computer_use_cache.flights.recorder import Recorder

logger = logging.getLogger(__name__)

type Decoder = Callable[[bytes], bytes]
type Chunks = bytes | Iterable[bytes]

_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress,
    "deflate": lambda: zlib.decompressobj().decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
}


def decoder(coding: str) -> Decoder | None:
    """Turns chunks of a coded body into chunks of the plain one; None for a coding that is not known."""
    make = _DECODERS.get(coding.strip().lower())
    return make() if make else None


def tee(
    recorder: Recorder, flight: Flight | None, decode: Decoder | None, other: Callable[[bytes], Chunks] | None
) -> Callable[[bytes], Chunks]:
    """The callable for `flow.response.stream`; `other` is one that was there before."""

    def keep(chunk: bytes) -> None:
        try:
            if chunk:
                recorder.feed(chunk, time.monotonic())
            if flight and chunk:
                flight.feed(chunk)
            elif flight:
                flight.end_stream()
        except Exception:
            logger.exception("the cache failed; the stream goes on unrecorded")
            recorder.give_up(SkipReason.STORE)

    def pass_on(sent: bytes) -> Chunks:
        chunk = sent
        if decode and sent:
            try:
                chunk = decode(sent)
            except Exception as error:
                logger.warning("a chunk cannot be decoded: %s", error)
                recorder.give_up(SkipReason.CODING)
                return ()
        if sent and not chunk:
            return ()  # nothing decoded yet: an empty chunk would end a chunked body
        keep(chunk)
        return other(chunk) if other else chunk

    return pass_on
