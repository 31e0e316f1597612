"""mitmproxy's HTTP layer with what it lacks: an answer in the API's form when the upstream fails or the request is too
large, answers that are really streamed by an addon, and an upstream time-out. It also lets a call outlive its client
for followers, and reads upstreams in larger pieces.

Chosen in the `next_layer` hook; everything else is left to mitmproxy's own layer.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakSet

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    GetHttpConnection,
    Http1Client,
    HttpErrorHook,
    HttpLayer,
    HTTPMode,
    HttpResponseHook,
    HttpStream,
    RegisterHttpConnection,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    SendHttp,
)
from mitmproxy.proxy.tunnel import TunnelLayer

from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import RequestError
from computer_use_cache.models import Request
from computer_use_cache.network import Proxies
from computer_use_cache.proxy.content_coding import LARGEST_REQUEST
from computer_use_cache.proxy.http.client import CacheHttp1Client
from computer_use_cache.proxy.http.server import CacheHttp1Server, fault

UPSTREAM_FAULT = "cache_upstream_fault"
"""In a flow's metadata when the upstream failed: the HTTP status that says how, 502 or 504."""

FOREIGN = "cache_foreign"
"""In the metadata of a flow that is not the cache's business: it takes the time that it takes."""


@dataclass(slots=True)
class Feed:
    """The pieces of an answer that an addon streams; `chunk` is the next one, None at the end, `cut` a broken end."""

    pieces: AsyncIterator[bytes]
    chunk: bytes | None = None
    cut: bool = False


@dataclass
class CacheNextChunkHook(commands.StartHook):
    """Asks the addon to wait for the next chunk of a feed."""

    feed: Feed
    name = "cache_next_chunk"
    blocking = True


class Owner(Protocol):
    """What the layer asks of the addon."""

    def feed_of(self, flow: http.HTTPFlow) -> Feed | None:
        """The feed that answers a flow whose response was set without a body."""

    def is_held(self, flow: http.HTTPFlow) -> bool:
        """Whether others still want the answer of a flow whose client left. If not, nobody may want it any more:
        the call is given up."""

    def upstream_timeout(self) -> float:
        """Seconds to the first byte, and between bytes."""

    def refuse(self, flow: http.HTTPFlow, error: RequestError) -> None:
        """Set the flow's response to an error in the form of the API that was asked."""

    def expect(self, client_id: str, request: Request, plan: Plan) -> None:
        """The next request of this client connection was planned already."""


class CacheStream(HttpStream):
    """One exchange."""

    def __init__(self, context: Context, stream_id: int, owner: Owner, proxies: Proxies) -> None:
        super().__init__(context, stream_id)
        self._owner = owner
        self._proxies = proxies
        self.heard_upstream: float | None = None
        """When the upstream was asked or last sent something (Unix seconds); None when nothing is expected of it."""

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, (ResponseHeaders, ResponseData)) and FOREIGN not in self.flow.metadata:
            self.heard_upstream = time.time()
        elif isinstance(event, (ResponseEndOfMessage, ResponseProtocolError)):
            self.heard_upstream = None
        yield from super()._handle_event(event)

    def make_server_connection(self) -> CommandGenerator[bool]:
        """As mitmproxy's, through the proxy that the environment names for this host, unless the mode names one."""
        if FOREIGN not in self.flow.metadata:
            self.heard_upstream = time.time()
        scheme, address = self.flow.request.scheme, (self.flow.request.host, self.flow.request.port)
        via, is_tls, server = self.flow.server_conn.via, scheme == "https", self.flow.server_conn
        if via is None and (proxy := self._proxies.find(scheme, *address)):
            if is_tls:
                via = proxy.scheme, proxy.address
            else:  # CacheHttp1Client asks it for the whole URL
                address, is_tls = proxy.address, proxy.scheme == "https"
        connection, error = yield GetHttpConnection(address, is_tls, via, server.transport_protocol)
        if error:
            failure = ResponseProtocolError(self.stream_id, error, ErrorCode.CONNECT_FAILED)
            yield from self.handle_protocol_error(failure)
            return False
        self.context.server = self.flow.server_conn = connection
        return True

    def handle_connect_regular(self) -> CommandGenerator[None]:
        """What a client tunnels goes through the environment's proxy too, as in mitmproxy's mode `upstream`."""
        assert self.context.server.address
        proxy = self._proxies.find("https", *self.context.server.address)
        if proxy is None:
            yield from super().handle_connect_regular()  # type: ignore[no-untyped-call]
        else:
            self.context.server.via = (proxy.scheme, proxy.address)
            yield from self.handle_connect_upstream()  # type: ignore[no-untyped-call]

    def check_body_size(self, request: bool) -> CommandGenerator[bool]:
        # Before the body begins it is not known yet whether it will be streamed.
        if not request or not self.request_body_buf:
            return (yield from super().check_body_size(request))
        if self.flow.response:
            self.request_body_buf.clear()  # the guard has refused it: nobody will read the body
            return False
        if max(len(self.request_body_buf), self._declared_length) <= LARGEST_REQUEST:
            return (yield from super().check_body_size(request))
        self.request_body_buf.clear()
        self._owner.refuse(self.flow, RequestError(413, f"The request is larger than {LARGEST_REQUEST} bytes."))
        self.client_state = self.state_done  # the rest of it is let go of as it comes
        yield from self.send_response()
        return True

    @cached_property
    def _declared_length(self) -> int:
        return int(self.flow.request.headers.get("content-length", "0"))

    def check_invalid(self, request: bool) -> CommandGenerator[bool]:
        if request:
            return (yield from super().check_invalid(True)) or (yield from self._check_head())
        if not self.context.options.validate_inbound_headers:
            return False
        assert self.flow.response is not None
        try:
            validate_headers(self.flow.response)
            if 100 <= self.flow.response.status_code < 200 and self.flow.response.status_code != 101:
                # mitmproxy takes it for the answer, and the client would wait for another one for ever.
                raise ValueError(f"an interim answer ({self.flow.response.status_code})")
        except ValueError as error:
            yield commands.CloseConnection(self.flow.server_conn)
            message = f"The upstream sent {error}"
            invalid = ResponseProtocolError(self.stream_id, message, ErrorCode.RESPONSE_VALIDATION_FAILED)
            yield from self.handle_protocol_error(invalid)
            return True
        return False

    def _check_head(self) -> CommandGenerator[bool]:
        message = fault(self.flow.request, over_http1=self.context.client.alpn not in (b"h2", b"h3"))
        if message is None:
            return False
        # No hook is told: what shows flows and logs them would show these bytes.
        refusal = ResponseProtocolError(self.stream_id, message, ErrorCode.REQUEST_VALIDATION_FAILED)
        yield SendHttp(refusal, self.context.client)
        self.flow.live = False
        self.client_state = self.server_state = self.state_errored
        return True

    def check_killed(self, emit_error_hook: bool) -> CommandGenerator[bool]:
        killed = self.flow.error and self.flow.error.msg == mitmproxy_flow.Error.KILLED_MESSAGE
        left = any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue)
        if left and not killed and self._owner.is_held(self.flow):
            return False
        return (yield from super().check_killed(emit_error_hook))

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> CommandGenerator[None]:
        if isinstance(event, RequestProtocolError):
            if not self._owner.is_held(self.flow):
                yield from super().handle_protocol_error(event)
            return
        self.flow.metadata.setdefault(UPSTREAM_FAULT, 502)
        unanswered = self.server_state in (
            self.state_uninitialized,
            self.state_wait_for_response_headers,
            self.state_consume_response_body,
        )
        if not unanswered or self.client_state == self.state_errored:
            yield from super().handle_protocol_error(event)
            return
        self.flow.response = None
        self.flow.error = mitmproxy_flow.Error(event.message)
        yield HttpErrorHook(self.flow)
        if self.flow.response is None:
            yield from super().handle_protocol_error(event)
        else:
            yield from self.send_response()

    def send_response(self, already_streamed: bool = False) -> CommandGenerator[None]:
        feed = None if already_streamed else self._owner.feed_of(self.flow)
        if feed is None:
            yield from super().send_response(already_streamed)
        else:
            yield from self._send_feed(feed)

    def _send_feed(self, feed: Feed) -> CommandGenerator[None]:
        assert self.flow.response
        yield SendHttp(ResponseHeaders(self.stream_id, self.flow.response, end_stream=False), self.context.client)
        while True:
            yield CacheNextChunkHook(feed)
            if (yield from self.check_killed(True)):
                return
            if feed.chunk is None:
                break
            yield SendHttp(ResponseData(self.stream_id, feed.chunk), self.context.client)
        if feed.cut:
            self.flow.error = mitmproxy_flow.Error("The upstream broke off the answer.")
            yield HttpErrorHook(self.flow)
            cut = ResponseProtocolError(self.stream_id, self.flow.error.msg, ErrorCode.GENERIC_SERVER_ERROR)
            yield SendHttp(cut, self.context.client)
            self.flow.live = False
            self.client_state = self.server_state = self.state_errored
            return
        self.flow.response.timestamp_end = time.time()
        yield HttpResponseHook(self.flow)
        self.server_state = self.state_done
        if self.client_state == self.state_done:
            yield from self.flow_done()


def with_cache_layer(layer: Layer, make: Callable[[Context, HTTPMode], CacheHttpLayer]) -> Layer:
    """A decision of `next_layer` with mitmproxy's HTTP layer replaced by ours, also where it lies under TLS layers."""
    if type(layer) is HttpLayer:
        layer.context.layers.remove(layer)
        return make(layer.context, layer.mode)
    if isinstance(layer, TunnelLayer):
        layer.child_layer = with_cache_layer(layer.child_layer, make)
    return layer


class CacheHttpLayer(HttpLayer):
    """One client connection. Other hosts are reached through `proxies`."""

    def __init__(self, context: Context, mode: HTTPMode, owner: Owner, proxies: Proxies) -> None:
        super().__init__(context, mode)
        self._owner = owner
        self._proxies = proxies
        self._watch: commands.RequestWakeup | None = None
        _alive.add(self)

    def make_stream(self, stream_id: int) -> CommandGenerator[None]:
        self.streams[stream_id] = CacheStream(self.context.fork(), stream_id, self._owner, self._proxies)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.Start) and self.context.client.alpn not in (b"h2", b"h3"):
            self.connections[self.context.client] = CacheHttp1Server(self.context.fork())
        if isinstance(event, events.Wakeup) and event.command is self._watch:
            self._watch = None
            yield from self._end_silent_streams()
        else:
            yield from super()._handle_event(event)
        yield from self._keep_watch()

    def register_connection(self, command: RegisterHttpConnection) -> CommandGenerator[None]:
        layers = self.connections[command.connection].context.layers
        if type(layers[-1]) is Http1Client:  # mitmproxy has just made it, and used it for nothing yet
            context, above = layers.pop().context, layers[-1]
            above._handle_event = CacheHttp1Client(context, self._proxies).handle_event  # type: ignore[method-assign]
            yield from self.event_to_child(above, events.Start())
        yield from super().register_connection(command)

    def _waiting(self) -> list[CacheStream]:
        return [s for s in self.streams.values() if isinstance(s, CacheStream) and s.heard_upstream is not None]

    def _keep_watch(self) -> CommandGenerator[None]:
        """One timer a connection, not one a request: mitmproxy cannot take a timer back."""
        if self._watch is None and (waiting := self._waiting()):
            oldest = min(stream.heard_upstream or 0.0 for stream in waiting)
            self._watch = commands.RequestWakeup(max(oldest + self._owner.upstream_timeout() - time.time(), 0.01))
            yield self._watch

    def _end_silent_streams(self) -> CommandGenerator[None]:
        limit = time.time() - self._owner.upstream_timeout()
        for stream in self._waiting():
            if stream.heard_upstream is None or stream.heard_upstream > limit:
                continue
            stream.heard_upstream = None
            stream.flow.metadata[UPSTREAM_FAULT] = 504
            connecting = [
                connection
                for connection, waiting in self.waiting_for_establishment.items()
                if any(self.command_sources.get(command) is stream for command in waiting)
            ]
            for connection in connecting:
                yield commands.CloseConnection(connection)
            if not connecting:
                yield from self._end_silent_stream(stream)

    def _end_silent_stream(self, stream: CacheStream) -> CommandGenerator[None]:
        message = f"nothing came for {self._owner.upstream_timeout():g} seconds"
        leave = RequestProtocolError(stream.stream_id, message, ErrorCode.CANCEL)
        server: Any = self.connections.get(stream.context.server)
        if server is not None:
            yield from self.event_to_child(server, leave)
        late = ResponseProtocolError(stream.stream_id, message, ErrorCode.GENERIC_SERVER_ERROR)
        yield from self.event_to_child(stream, late)


_alive: WeakSet[CacheHttpLayer] = WeakSet()


def running() -> int:
    """How many exchanges of all connections have not ended; tunnels and websockets, which have no end, are none."""
    return sum(stream.child_layer is None for layer in _alive for stream in layer.streams.values())
