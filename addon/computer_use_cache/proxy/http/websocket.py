"""The server's end of a websocket for OpenAI's Responses, in the place of mitmproxy's HTTP server.

Where that one reads requests from a connection, this one reads messages and makes each `response.create` a request of
its own, with its own hooks and flow. Upstreams are asked over HTTP.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    HttpConnection,
    HttpEvent,
    ReceiveHttp,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

from computer_use_cache.errors import RequestError
from computer_use_cache.proxy.content_coding import LARGEST_REQUEST
from computer_use_cache.proxy.flows import lower_headers
from computer_use_cache.responses_websocket.conversation import Ask, Conversation, Reaction, Reply, lane_of
from computer_use_cache.responses_websocket.events import AnswerEvents, refusal

_VERSION = "13"
_MOST_UNANSWERED = 100
"""Messages of a connection that may wait for an answer."""

_HANDSHAKE_ONLY = (
    *("connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"),
    *("sec-websocket-protocol", "accept-encoding", "content-length", "transfer-encoding", "expect"),
    *("origin", "sec-fetch-site"),  # the guard has judged them
)
"""Headers that do not go into the requests that messages become."""
_BETA = "responses_websockets="
"""The item of OpenAI-Beta with which Codex asks for websockets."""


def handshake_response(handshake: http.Request) -> http.Response:
    """The answer that opens a websocket. Raises RequestError."""
    headers = handshake.headers
    if handshake.http_version != "HTTP/1.1" or headers.get("sec-websocket-version") != _VERSION:
        raise RequestError(426, f"Websockets need HTTP/1.1 and version {_VERSION} here; plain HTTP works as well.")
    key = headers.get("sec-websocket-key", "")
    if not key:
        raise RequestError(400, "Sec-WebSocket-Key is missing.")
    token = generate_accept_token(key.encode())
    opened = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": token.decode()}
    opened["x-computer-use-cache"] = "WEBSOCKET"  # messages have no headers; a capture must show who answered them
    response = http.Response.make(101, b"", opened)
    del response.headers["content-length"]
    return response


class Reading:
    """A message for the addon to read. `reaction` says what to do about it, None if reading it failed."""

    def __init__(self, conversation: Conversation, message: bytes, lane: str | None) -> None:
        self._conversation = conversation
        self._message = message
        self._lane = lane
        self.reaction: Reaction | None = None

    def run(self) -> None:
        self.reaction = self._conversation.read(self._message, self._lane, time.time())


@dataclass
class CacheReadMessageHook(commands.StartHook):
    """Asks the addon to read a message in a thread: it may be as large as any request."""

    reading: Reading
    name = "cache_read_message"
    blocking = True


@dataclass(slots=True)
class _Pending:
    """A request that has not been answered completely."""

    ask: Ask
    answer: AnswerEvents


class WebsocketServer(HttpConnection):
    """One client's websocket. `handshake` is the request that opened it, as the client sent it.

    The messages of a lane are answered one after another, those of different lanes at the same time.
    """

    def __init__(self, context: Context, handshake: http.Request) -> None:
        super().__init__(context, context.client)
        self._handshake = handshake
        self._frames = Connection(ConnectionType.SERVER)
        self._conversation = Conversation()
        self._message = bytearray()
        self._waiting: dict[str | None, deque[bytes]] = {}
        """The messages of each lane that is busy."""
        self._pending: dict[int, _Pending] = {}
        self._next_stream_id = 1
        self._has_left = False

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        match event:
            case events.DataReceived() if not self._has_left:
                yield from self._receive(event.data)
            case events.ConnectionClosed():
                yield from self._disconnect()
            case HttpEvent():
                yield from self._send(event)

    # -- from the client

    def _receive(self, data: bytes) -> CommandGenerator[None]:
        try:
            self._frames.receive_data(data)
            for event in self._frames.events():
                match event:
                    case Ping():
                        yield from self._write(event.response())
                    case CloseConnection():
                        yield from self._close(event.response())
                    case TextMessage() | BytesMessage() if not self._has_left:
                        yield from self._add(event)
        except RemoteProtocolError as error:
            hint = error.event_hint
            yield from self._close(
                hint if isinstance(hint, CloseConnection) else CloseConnection(CloseReason.PROTOCOL_ERROR)
            )

    def _add(self, piece: TextMessage | BytesMessage) -> CommandGenerator[None]:
        data = piece.data.encode() if isinstance(piece.data, str) else piece.data
        self._message += data
        if len(self._message) > LARGEST_REQUEST:
            reason = f"A message is larger than {LARGEST_REQUEST} bytes."
            yield from self._close(CloseConnection(CloseReason.MESSAGE_TOO_BIG, reason))
        elif piece.message_finished:
            message = bytes(self._message)
            self._message.clear()
            yield from self._accept(message)

    def _accept(self, message: bytes) -> CommandGenerator[None]:
        lane = lane_of(message)
        if self._is_full:
            yield from self._close(CloseConnection(CloseReason.POLICY_VIOLATION, "Too many messages wait for answers."))
        elif lane in self._waiting:
            self._waiting[lane].append(message)
        else:
            self._waiting[lane] = deque((message,))
            yield from self._answer_waiting(lane)

    @property
    def _is_full(self) -> bool:
        """Whether no further message is taken before one is answered."""
        waiting = [message for lane in self._waiting.values() for message in lane]
        return len(self._pending) + len(waiting) >= _MOST_UNANSWERED or sum(map(len, waiting)) > LARGEST_REQUEST

    def _answer_waiting(self, lane: str | None) -> CommandGenerator[None]:
        """Answer the waiting messages of a lane, up to the next one that becomes a request."""
        waiting = self._waiting[lane]
        while waiting:
            reading = Reading(self._conversation, waiting.popleft(), lane)
            yield CacheReadMessageHook(reading)
            match reading.reaction:
                case Reply(replies):
                    for reply in replies:
                        yield from self._send_text(reply)
                case Ask():
                    yield from self._ask(reading.reaction, lane)
                    return
                case None:
                    failure = RequestError(500, "The cache failed to read the message; see its log.")
                    yield from self._send_text(refusal(failure, lane))
                case _:
                    assert_never(reading.reaction)
        del self._waiting[lane]

    def _ask(self, ask: Ask, lane: str | None) -> CommandGenerator[None]:
        stream_id = self._next_stream_id
        self._next_stream_id += 2
        self._pending[stream_id] = _Pending(ask, AnswerEvents(lane))
        request = request_of(self._handshake, len(ask.body))
        yield ReceiveHttp(RequestHeaders(stream_id, request, end_stream=False))
        yield ReceiveHttp(RequestData(stream_id, ask.body))
        yield ReceiveHttp(RequestEndOfMessage(stream_id))

    def _disconnect(self) -> CommandGenerator[None]:
        """The client has left or is disconnected: nobody waits for the answers."""
        self._has_left = True
        yield commands.CloseConnection(self.conn)
        self._waiting.clear()
        for stream_id in tuple(self._pending):
            del self._pending[stream_id]
            yield ReceiveHttp(
                RequestProtocolError(stream_id, "Client disconnected.", ErrorCode.CLIENT_DISCONNECTED),
            )

    # -- to the client

    def _send(self, event: HttpEvent) -> CommandGenerator[None]:
        pending = self._pending.get(event.stream_id)
        if pending is None:
            return
        for data in _events(pending.answer, event):
            yield from self._send_text(data)
        if isinstance(event, (ResponseEndOfMessage, ResponseProtocolError)):
            del self._pending[event.stream_id]
            if pending.answer.to_continue:
                self._conversation.answered(pending.ask.turn, pending.answer.to_continue)
            if pending.answer.lane in self._waiting:
                yield from self._answer_waiting(pending.answer.lane)

    def _send_text(self, data: bytes) -> CommandGenerator[None]:
        yield from self._write(TextMessage(data.decode("utf-8", "replace")))

    def _write(self, event: TextMessage | Pong | CloseConnection) -> CommandGenerator[None]:
        try:
            data = self._frames.send(event)
        except LocalProtocolError:  # it is closed
            return
        yield commands.SendData(self.conn, data)

    def _close(self, last: CloseConnection) -> CommandGenerator[None]:
        if self._frames.state is not ConnectionState.CLOSED:
            yield from self._write(last)
        yield from self._disconnect()


def request_of(handshake: http.Request, length: int) -> http.Request:
    """The request over HTTP for a message of `length` bytes."""
    request = handshake.copy()
    request.method = "POST"
    request.timestamp_start = time.time()
    headers = request.headers
    for name in _HANDSHAKE_ONLY:
        headers.pop(name, None)
    betas = [item.strip() for item in headers.get("openai-beta", "").split(",")]
    if kept := [item for item in betas if item and not item.startswith(_BETA)]:
        headers["openai-beta"] = ", ".join(kept)
    else:
        headers.pop("openai-beta", None)
    headers["content-type"] = "application/json"
    headers["accept"] = "text/event-stream"
    headers["content-length"] = str(length)
    return request


def _events(answer: AnswerEvents, event: HttpEvent) -> Iterator[bytes]:
    """The events of a websocket for an event of an HTTP answer."""
    match event:
        case ResponseHeaders():
            answer.begin(event.response.status_code, lower_headers(event.response.headers))
        case ResponseData():
            yield from answer.receive(event.data)
        case ResponseEndOfMessage():
            yield from answer.end()
        case ResponseProtocolError():
            yield from answer.fail(event.code.http_status_code() or 502, event.message)
