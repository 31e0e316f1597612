"""One exchange as mitmproxy's HTTP layer runs it, with what that lacks.

An upstream that fails and a request that is too large get an answer in the API's form. Answers can be streamed by an
addon. A slow answer reaches the client as it comes, and an answer that comes before its request has ended ends both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    GetHttpConnection,
    HttpErrorHook,
    HttpEvent,
    HttpResponseHook,
    HttpStream,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    SendHttp,
)

from computer_use_cache.errors import RequestError
from computer_use_cache.network import Proxies
from computer_use_cache.proxy import flows
from computer_use_cache.proxy.content_coding import LARGEST_REQUEST
from computer_use_cache.proxy.http.client import InterimResponse
from computer_use_cache.proxy.http.owner import (
    CLIENT_FAULT,
    FOREIGN,
    UPSTREAM_FAULT,
    CacheNextChunkHook,
    CacheSlowAnswerHook,
    Feed,
    Owner,
)
from computer_use_cache.proxy.http.server import fault

_EXPECTATION = "cache_expectation"
"""In the metadata of a flow: the Expect header of a request whose body is passed on as it comes."""

_SLOW_SECONDS = 1.0
"""An answer that has begun and is not whole after this time is passed on as it comes. Clients are then as patient as
without the cache; answers that arrive at once, as nearly all do, have headers that say whether they were stored."""


def pass_body_through(flow: http.HTTPFlow) -> None:
    """Send a request upstream while its body still arrives. Its `Expect: 100-continue` is then for the upstream to
    answer; mitmproxy would answer it here."""
    flow.request.stream = True
    if expectation := flow.request.headers.pop("expect", None):
        flow.metadata[_EXPECTATION] = expectation


type MakeWebsocket = Callable[[Context, http.Request], Layer]
"""Makes the layer for a websocket that the addon has opened; the request is its handshake as the client sent it."""


class CacheStream(HttpStream):
    """One exchange."""

    def __init__(
        self, context: Context, stream_id: int, owner: Owner, proxies: Proxies, make_websocket: MakeWebsocket
    ) -> None:
        super().__init__(context, stream_id)
        self._owner = owner
        self._proxies = proxies
        self._make_websocket = make_websocket
        self._handshake: http.Request | None = None
        """A copy of a request for another protocol, from before the addon points it at its upstream."""
        self.heard_upstream: float | None = None
        """When the upstream was asked, was last sent a piece of the request, or last sent something (Unix seconds);
        None while nothing is expected of it."""
        self._is_forwarded = False
        """Whether the upstream call has begun. Before that, a client that leaves takes nothing from its followers: one
        of them makes the call. This connection could not make it any more."""

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, (ResponseEndOfMessage, ResponseProtocolError)):
            self.heard_upstream = None
        elif isinstance(event, HttpEvent) and self.heard_upstream is not None:
            self.heard_upstream = time.time()
        match event:
            case RequestHeaders() if "upgrade" in event.request.headers:
                self._handshake = event.request.copy()
                yield from super()._handle_event(event)
            case InterimResponse():
                yield SendHttp(ResponseHeaders(self.stream_id, event.response), self.context.client)
            case events.Wakeup():
                yield from self._pass_on_slow_answer()
            case _:
                yield from super()._handle_event(event)

    def passed_on(self, data: bytes) -> bytes | None:
        """What the client is to get of a piece of an answer that streams through; None if mitmproxy must handle it.

        This is what the events of a piece come to, without the events.
        """
        response = self.flow.response
        is_plain = self.server_state == self.state_stream_response_body and not self._paused
        if response is None or not is_plain or self._keeps_bodies:
            return None
        if self.heard_upstream is not None:
            self.heard_upstream = time.time()
        if not callable(response.stream):
            return data
        chunks = response.stream(data)
        return chunks if isinstance(chunks, bytes) else b"".join(chunks)

    def state_wait_for_response_headers(self, event: ResponseHeaders) -> CommandGenerator[None]:
        yield from super().state_wait_for_response_headers(event)
        if self._is_held_back and not event.end_stream:
            yield commands.RequestWakeup(_SLOW_SECONDS)

    def state_consume_response_body(self, event: events.Event) -> CommandGenerator[None]:
        yield from super().state_consume_response_body(event)
        # Servers send white space before JSON to keep clients waiting: such an answer is going to take its time.
        if isinstance(event, ResponseData) and event.data.isspace():
            yield from self._pass_on_slow_answer()

    @cached_property
    def _keeps_bodies(self) -> bool:
        """Whether mitmproxy is to keep the bodies that stream through."""
        return bool(self.context.options.store_streamed_bodies)

    @property
    def _is_held_back(self) -> bool:
        """Whether an answer is arriving that the client has not seen any part of."""
        return bool(self.server_state == self.state_consume_response_body)

    def _pass_on_slow_answer(self) -> CommandGenerator[None]:
        if not self._is_held_back:
            return
        yield CacheSlowAnswerHook(self.flow)
        assert self.flow.response
        if (yield from self.check_killed(True)) or not self.flow.response.stream:
            return
        received = bytes(self.response_body_buf)
        self.response_body_buf.clear()
        yield from self.start_response_stream()
        if received:
            yield from self.state_stream_response_body(ResponseData(self.stream_id, received))

    def start_request_stream(self) -> CommandGenerator[None]:
        if expectation := self.flow.metadata.pop(_EXPECTATION, None):
            self.flow.request.headers["expect"] = expectation
        yield from super().start_request_stream()
        if self.client_state == self.state_errored and self.server_state == self.state_done:
            # The upstream could not be reached, and the client has been told. The rest of the body is dropped.
            self.client_state = self.state_done
            yield from self.flow_done()

    def make_server_connection(self) -> CommandGenerator[bool]:
        """As mitmproxy's, through the proxy that the environment names for this host, unless the mode names one."""
        self._is_forwarded = True
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
        # Whether a body is streamed is known once it has begun.
        if not request or not self.request_body_buf:
            return (yield from super().check_body_size(request))
        if self.flow.response:
            self.request_body_buf.clear()  # the guard has refused the request: nothing reads its body
            return False
        if max(len(self.request_body_buf), self._declared_length) <= LARGEST_REQUEST:
            return (yield from super().check_body_size(request))
        self.request_body_buf.clear()
        self._owner.refuse(self.flow, RequestError(413, f"The request is larger than {LARGEST_REQUEST} bytes."))
        self.client_state = self.state_done  # the rest is dropped as it comes
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
        # No hook is called: what shows and logs flows would show these bytes.
        refusal = ResponseProtocolError(self.stream_id, message, ErrorCode.REQUEST_VALIDATION_FAILED)
        yield SendHttp(refusal, self.context.client)
        self.flow.live = False
        self.client_state = self.server_state = self.state_errored
        return True

    def check_killed(self, emit_error_hook: bool) -> CommandGenerator[bool]:
        killed = self.flow.error and self.flow.error.msg == mitmproxy_flow.Error.KILLED_MESSAGE
        left = [event for event in self._paused_event_queue if isinstance(event, RequestProtocolError)]
        for event in left:
            self._note_fault(event)
        if left and not killed and self._is_forwarded and self._owner.is_held(self.flow):
            return False
        return (yield from super().check_killed(emit_error_hook))

    def _note_fault(self, event: RequestProtocolError) -> None:
        if event.code is ErrorCode.GENERIC_CLIENT_ERROR:  # a client that leaves has a code of its own
            self.flow.metadata[CLIENT_FAULT] = event.message

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> CommandGenerator[None]:
        if self.client_state is _ended:
            return  # the end of a connection that was given up: another error would answer the client's next request
        if isinstance(event, RequestProtocolError):
            self._note_fault(event)
            if not self._owner.is_held(self.flow):
                yield from self._fail(event)
            return
        if self.server_state in (self.state_done, self.state_errored):
            return  # the client has its answer, and may still be sending the rest of its request
        self.flow.metadata.setdefault(UPSTREAM_FAULT, 502)
        unanswered = self.server_state in (
            self.state_uninitialized,
            self.state_wait_for_response_headers,
            self.state_consume_response_body,
        )
        if not unanswered or self.client_state == self.state_errored:
            yield from self._fail(event)
            return
        self.flow.response = None
        self.flow.error = mitmproxy_flow.Error(event.message)
        yield HttpErrorHook(self.flow)
        if self.flow.response is None:
            yield from self._fail(event)
        else:
            yield from self.send_response()

    def _fail(self, error: RequestProtocolError | ResponseProtocolError) -> CommandGenerator[None]:
        """End the exchange without a complete answer."""
        yield from super().handle_protocol_error(error)
        if not self.flow.live:
            self._let_go()

    def send_response(self, already_streamed: bool = False) -> CommandGenerator[None]:
        feed = None if already_streamed else self._owner.feed_of(self.flow)
        if feed:
            yield from self._send_feed(feed)
            return
        yield from super().send_response(already_streamed)
        if self.client_state == self.state_stream_request_body and self.server_state == self.state_done:
            # The upstream has refused the rest of the body (with a 413, say): it is sent no more, and not waited for.
            enough = RequestProtocolError(self.stream_id, "answered already", ErrorCode.CANCEL)
            yield SendHttp(enough, self.context.server)
            self.client_state = self.state_done
            yield from self.flow_done()

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

    def flow_done(self) -> CommandGenerator[None]:
        assert self.flow.response
        if self.flow.response.status_code != 101 or not flows.is_own_answer(self.flow):
            yield from super().flow_done()
            if self.child_layer is None:
                self._let_go()
            return
        assert self._handshake
        self.flow.live = False
        self.flow.websocket = None  # its messages are flows of their own
        self.child_layer = self._make_websocket(self.context.fork(), self._handshake)
        self._handle_event = self.passthrough  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _let_go(self) -> None:
        """Break the reference cycles of an exchange that has ended. Without this, its flow would stay in memory, with
        megabytes of screenshots, until the garbage collector looks at it: after dozens of further requests."""
        self.client_state = self.server_state = _ended
        self.context.layers.remove(self)


def _ended(_: events.Event) -> CommandGenerator[None]:
    """The state of an exchange that has ended. mitmproxy's states are methods, which refer to their exchange."""
    yield from ()
