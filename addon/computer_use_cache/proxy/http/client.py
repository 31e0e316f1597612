"""mitmproxy's HTTP/1 client with larger pieces of chunked bodies, and with requests to a forward proxy.

The chunks that one read brought are passed on as one piece: their bounds mean nothing (RFC 9112, section 7.1), and each
piece costs a pass through all layers and a write to the client. A chunk that comes alone is passed on at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from h11 import Data, EndOfMessage, LocalProtocolError
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    Http1Client,
    HttpEvent,
    ReceiveHttp,
    RequestHeaders,
    ResponseProtocolError,
)

from computer_use_cache.network import Proxies
from computer_use_cache.proxy.http.http1 import CacheHttp1Connection

_CHUNK = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
"""The line end after a chunk's data, and the head of the next chunk."""
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9][0-9][ \r\n]")
"""The beginning of an interim response; 101 is final for HTTP/1 (RFC 9110, section 15.2.2)."""


class BulkReader(ChunkedReader):
    """h11's reader, except that all data received so far is one event. Whole chunks are extracted here; the first
    one's beginning, the last one's end and anything unusual are left to h11."""

    def __init__(self) -> None:
        super().__init__()
        self._end: EndOfMessage | LocalProtocolError | None = None
        """What followed the data that was returned last."""

    def whole_chunks(self, received: bytes) -> bytes | None:
        """The data in what has just been received, if that is whole chunks and nothing else. Otherwise None, and it has
        to be read as usual. Everything received before must have been read."""
        if self._bytes_in_chunk or self._bytes_to_discard or self._reading_trailer or self._end:
            return None
        pieces, at = [], 0
        while at < len(received):
            head = _CHUNK_HEAD.match(received, at)
            if head is None:
                return None
            start, end = head.end(), head.end() + int(head[1], 16)
            if start == end or received[end : end + 2] != b"\r\n":
                return None
            pieces.append(received[start:end])
            at = end + 2
        return b"".join(pieces)

    def __call__(self, buf: ReceiveBuffer) -> Data | EndOfMessage | None:
        pieces, end = list[bytes](), self._end
        while end is None:
            try:
                found = super().__call__(buf)
            except LocalProtocolError as error:
                end = error
                break
            if not isinstance(found, Data):
                # Trailers may be discarded (RFC 9112, section 7.1.2); mitmproxy raises NotImplementedError for them.
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
    """Remove the whole chunks that follow a chunk's data from the buffer, up to the end of the last one's data."""
    received, taken, pieces = bytes(buf), 0, list[bytes]()
    while head := _CHUNK.match(received, taken):
        start, size = head.end(), int(head[1], 16)
        if not 0 < size <= len(received) - start:
            break
        taken = start + size
        pieces.append(received[start:taken])
    buf.maybe_extract_at_most(taken)
    return pieces


@dataclass
class InterimResponse(HttpEvent):
    """An upstream's 1xx response (RFC 9110, section 15.2), after which the final one is still to come."""

    response: http.Response


class CacheHttp1Client(CacheHttp1Connection, Http1Client):
    """One upstream's HTTP/1 connection, or a forward proxy's for plain HTTP."""

    def __init__(
        self, context: Context, proxies: Proxies, pass_on: Callable[[Connection, bytes], bytes | None]
    ) -> None:
        """`pass_on` is `CacheHttpLayer.passed_on`."""
        super().__init__(context)
        self._proxies = proxies
        self._pass_on = pass_on

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        piece = self._pass_on(self.conn, event.data) if isinstance(event, events.DataReceived) else None
        if piece is None:
            yield from super()._handle_event(event)
        elif piece:
            yield commands.SendData(self.context.client, piece)

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        address = self.context.server.address
        if isinstance(event, RequestHeaders) and self._proxies.http and self._proxies.http.address == address:
            # A copy: what shows and saves flows must not see the proxy's password.
            request = _with_whole_url(event.request.copy())
            self._proxies.authorize(address, request.headers)
            event = replace(event, request=request)
        yield from super().send(event)

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        # mitmproxy takes an interim response for the final one.
        while self.request and _INTERIM.match(bytes(self.buf)):
            head = self.buf.maybe_extract_lines()
            if head is None:
                return  # more of it is still to come
            assert self.stream_id is not None
            try:
                response = http1.read_response_head([bytes(line) for line in head])
            except ValueError as error:
                yield commands.CloseConnection(self.conn)
                message = f"Cannot parse HTTP response: {error}"
                yield ReceiveHttp(ResponseProtocolError(self.stream_id, message, ErrorCode.GENERIC_SERVER_ERROR))
                return
            yield ReceiveHttp(InterimResponse(self.stream_id, response))
        yield from super().read_headers(event)

    def whole_chunks(self, received: bytes) -> bytes | None:
        """The data in what has just been received, if that is whole chunks of a body and nothing else. Otherwise None,
        and nothing has been read."""
        reader = self.body_reader if self.state == self.read_body else None
        return reader.whole_chunks(received) if isinstance(reader, BulkReader) and not self.buf else None

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        if type(self.body_reader) is ChunkedReader:
            self.body_reader = BulkReader()
        yield from super().read_body(event)


def _with_whole_url(request: http.Request) -> http.Request:
    """A request in the form for a forward proxy (RFC 9112, section 3.2.2)."""
    host = f"[{request.host}]" if ":" in request.host else request.host
    request.authority = host if request.port == 80 else f"{host}:{request.port}"
    return request
