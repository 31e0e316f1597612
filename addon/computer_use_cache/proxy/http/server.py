"""mitmproxy's HTTP/1 server with what it lacks against hostile clients: strict heads, bounds, and JSON for errors.

What is ambiguous is refused, never mended: two readers of one message must not disagree on where it ends (RFC 9112,
sections 2.2, 5 and 11.2). A refused connection is closed, so that nothing after a bad message is read as another one.
"""

from __future__ import annotations

import re
from dataclasses import replace

from h11._readers import ContentLengthReader
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    Http1Server,
    HttpEvent,
    ReceiveHttp,
    RequestData,
    RequestProtocolError,
    ResponseHeaders,
    ResponseProtocolError,
)

from computer_use_cache.errors import RequestError
from computer_use_cache.formats.openai import OpenAI
from computer_use_cache.proxy import responses
from computer_use_cache.proxy.http.http1 import CacheHttp1Connection

_MOST_UNREAD = 256 * 1024
"""Bytes that may wait to be understood: an unfinished head or chunk line, or requests sent ahead of an answer."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]*")
_INTERIM = frozenset(range(100, 200)) - {101}
"""101 is the final answer of an HTTP/1 exchange."""
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def fault(request: http.Request, *, over_http1: bool) -> str | None:
    """Why a request's head is refused; None if there is nothing wrong with it."""
    data = request.data
    if over_http1 and data.http_version not in (b"HTTP/1.0", b"HTTP/1.1"):
        return "Only HTTP/1.0 and HTTP/1.1 are spoken here."
    if not _TOKEN.fullmatch(data.method) or not _TARGET.fullmatch(data.path) or not _TARGET.fullmatch(data.authority):
        return "The request line holds characters that are not allowed there."
    if any(_UNSAFE.search(value) for _, value in data.headers.fields):
        return "A header holds control characters or goes on over several lines."
    if len(data.headers.get_all("host")) > 1:
        return "There is more than one Host header."
    return None


def _without_chunks(response: http.Response) -> http.Response:
    """A response for an HTTP/1.0 client, which knows no transfer coding: without a length, the connection's end is the
    body's."""
    if "transfer-encoding" not in response.headers:
        return response
    plain = response.copy()
    del plain.headers["transfer-encoding"]
    plain.headers["connection"] = "close"
    return plain


class CacheHttp1Server(CacheHttp1Connection, Http1Server):
    """One client's HTTP/1 connection."""

    sends_chunks = False
    """Whether the body of the answer that is being sent goes out in chunks."""

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            if self._is_refused:
                return
            inside = self._inside_body(len(event.data))
            if inside:
                yield ReceiveHttp(RequestData(self.stream_id, event.data[:inside]))
                if inside == len(event.data) and not self._is_body_complete:
                    return
                event = events.DataReceived(self.conn, event.data[inside:])
        yield from super()._handle_event(event)
        if len(self.buf) <= _MOST_UNREAD or self.state in (self.passthrough, self.done):
            return
        if self.state == self.read_headers:
            yield from self._give_up(431, "The request's headers are too large.")
        else:
            yield from self._give_up(400, "More was sent than can be waited for.")

    @property
    def _is_refused(self) -> bool:
        """Whether the connection was refused: whatever the client still sends is dropped. A tunnel that the other side
        has half-closed still carries data."""
        return self.state != self.passthrough and not self.conn.state & ConnectionState.CAN_WRITE

    def _inside_body(self, length: int) -> int:
        """How many of the bytes that come next belong to a body of known length. They are passed on uncopied; h11 would
        copy them four times, and only learns their number."""
        if self.state != self.read_body or self.buf or not isinstance(self.body_reader, ContentLengthReader):
            return 0
        inside: int = min(length, self.body_reader._remaining)
        self.body_reader._remaining -= inside
        return inside

    @property
    def _is_body_complete(self) -> bool:
        """Whether a body of known length has been passed on whole, so that h11 is to end it."""
        return isinstance(self.body_reader, ContentLengthReader) and self.body_reader._remaining == 0

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        if isinstance(event, events.ConnectionClosed):
            # mitmproxy would log the part of the head that has arrived, with the client's credential in it.
            yield commands.CloseConnection(self.conn)
            return
        unread = len(self.buf) + 1
        # mitmproxy takes an empty line from the buffer and then waits for more, though the request may follow it.
        while self.state == self.read_headers and 0 < len(self.buf) < unread:
            unread = len(self.buf)
            for command in super().read_headers(event):
                if isinstance(command, commands.SendData) and self.state == self.read_headers:
                    yield from self._give_up(400, "The request is not well-formed HTTP/1.1.")
                    return
                yield command

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        is_broken_off = isinstance(event, events.ConnectionClosed)
        try:
            for command in super().read_body(event):
                if isinstance(command, commands.CloseConnection) and not (is_broken_off or self.request_done):
                    yield from self._refuse(400, "The request's body is not well-formed.")
                else:
                    yield command
        except NotImplementedError:
            yield from self._give_up(400, "Trailers are not supported.")

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        status = event.code.http_status_code() if isinstance(event, ResponseProtocolError) else None
        if isinstance(event, ResponseProtocolError) and status:
            yield from self._refuse(status, event.message)
        elif isinstance(event, ResponseHeaders) and event.response.status_code in _INTERIM:
            yield from self._send_interim(event.response)
        elif isinstance(event, ResponseHeaders):
            if self._is_http_1_0:
                event = replace(event, response=_without_chunks(event.response))
            self.sends_chunks = "chunked" in event.response.headers.get("transfer-encoding", "").lower()
            yield from super().send(event)
        else:
            yield from super().send(event)

    def chunk(self, data: bytes) -> bytes:
        """A piece of a body as it is sent: in chunks, or as it is."""
        return b"%x\r\n%s\r\n" % (len(data), data) if self.sends_chunks else data

    @property
    def _is_http_1_0(self) -> bool:
        return self.request is not None and self.request.http_version == "HTTP/1.0"

    def _send_interim(self, response: http.Response) -> CommandGenerator[None]:
        """Send a 1xx response, after which the request is still unanswered. HTTP/1.0 has none."""
        if not self._is_http_1_0 and not self.response:
            interim = response.copy()
            interim.http_version = "HTTP/1.1"
            yield commands.SendData(self.conn, http1.assemble_response_head(interim))

    def _give_up(self, status: int, message: str) -> CommandGenerator[None]:
        """Refuse the message that is arriving, and end the exchange that it belongs to."""
        yield from self._refuse(status, message)
        yield ReceiveHttp(RequestProtocolError(self.stream_id, message, ErrorCode.GENERIC_CLIENT_ERROR))

    def _refuse(self, status: int, message: str) -> CommandGenerator[None]:
        """Answer, if nothing was answered yet, and read no further.

        Closing at once would have the kernel throw the answer away while the client still sends.
        """
        if not self.conn.state & ConnectionState.CAN_WRITE:
            return
        if not self.response:
            response = responses.json_response(status, OpenAI().error(RequestError(status, message)))
            response.headers["connection"] = "close"
            yield commands.SendData(self.conn, http1.assemble_response(response))
        yield commands.CloseTcpConnection(self.conn, half_close=True)
        self.buf.maybe_extract_at_most(len(self.buf))
        self.state = self.done
