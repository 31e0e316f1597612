"""mitmproxy's HTTP/1 client, which passes on in one piece what one read of an upstream's chunked body brought.

The bounds of chunks mean nothing (RFC 9112, section 7.1), and each piece costs a way through all layers and a write to
the client. A chunk that comes alone leaves at once.
"""

from __future__ import annotations

import re

from h11 import Data, EndOfMessage, LocalProtocolError
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.proxy import events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import Http1Client

_CHUNK = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
"""The end of a chunk and the head of the next one."""


class BulkReader(ChunkedReader):
    """h11's reader, which gives all the data that is there as one event. Whole chunks are cut out here, the beginning,
    the end and whatever is unusual is h11's."""

    def __init__(self) -> None:
        super().__init__()
        self._end: EndOfMessage | LocalProtocolError | None = None
        """What came after the data that was given last."""

    def __call__(self, buf: ReceiveBuffer) -> Data | EndOfMessage | None:
        pieces, end = list[bytes](), self._end
        while end is None:
            try:
                found = super().__call__(buf)
            except LocalProtocolError as error:
                end = error
                break
            if not isinstance(found, Data):
                # mitmproxy would stumble over trailers, which may be discarded (RFC 9112, section 7.1.2).
                end = found and EndOfMessage()
                break
            pieces.append(found.data)
            if found.chunk_end:
                pieces += _whole_chunks(buf)
        if pieces:
            self._end = end
            return Data(b"".join(pieces))
        if isinstance(end, LocalProtocolError):
            raise end
        return end


def _whole_chunks(buf: ReceiveBuffer) -> list[bytes]:
    """Take the data of whole chunks out of what follows a chunk's data, up to the end of the last one's data."""
    received, taken, pieces = bytes(buf), 0, list[bytes]()
    while head := _CHUNK.match(received, taken):
        start, size = head.end(), int(head[1], 16)
        if not 0 < size <= len(received) - start:
            break
        taken = start + size
        pieces.append(received[start:taken])
    buf.maybe_extract_at_most(taken)
    return pieces


class CacheHttp1Client(Http1Client):
    """One upstream's HTTP/1 connection."""

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        if type(self.body_reader) is ChunkedReader:
            self.body_reader = BulkReader()
        yield from super().read_body(event)
