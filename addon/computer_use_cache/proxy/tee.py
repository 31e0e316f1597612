"""Passes each chunk of a streamed answer on to the client and to its exchange, with the content coding taken off.

mitmproxy calls it with every chunk. An exception here would hang the connection, so none leaves: a stream that cannot
be decoded is not recorded.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterable

import brotli
import zstandard

from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.models import Skip

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
    """Decodes the chunks of a body with this coding; None if the coding is unknown."""
    make = _DECODERS.get(coding.strip().lower())
    return make() if make else None


def tee(
    exchange: Exchange, decode: Decoder | None, other: Callable[[bytes], Chunks] | None
) -> Callable[[bytes], Chunks]:
    """The callable for `flow.response.stream`; `other` is the one that was there before."""

    def keep(chunk: bytes) -> None:
        try:
            exchange.feed(chunk, time.monotonic())
        except Exception:
            logger.exception("the cache failed; the stream goes on unrecorded")
            exchange.give_up(Skip.STORE)

    def pass_on(sent: bytes) -> Chunks:
        chunk = sent
        if decode and sent:
            try:
                chunk = decode(sent)
            except Exception as error:
                logger.warning("a chunk cannot be decoded: %s", error)
                exchange.give_up(Skip.CODING)
                return ()
        if sent and not chunk:
            return ()  # nothing decoded yet: an empty chunk would end a chunked body
        keep(chunk)
        return other(chunk) if other else chunk

    return pass_on
