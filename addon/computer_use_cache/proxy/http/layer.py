"""mitmproxy's HTTP layer with our streams in it, an upstream time-out, and reads of upstreams in larger pieces.

Chosen in the `next_layer` hook; everything else is left to mitmproxy's own layer.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    GetHttpConnection,
    GetHttpConnectionCompleted,
    Http1Client,
    HttpConnection,
    HttpLayer,
    HTTPMode,
    RegisterHttpConnection,
    RequestProtocolError,
    ResponseProtocolError,
)
from mitmproxy.proxy.tunnel import TunnelLayer

from computer_use_cache.network import Proxies
from computer_use_cache.proxy.connections import Connections
from computer_use_cache.proxy.http.client import CacheHttp1Client
from computer_use_cache.proxy.http.owner import UPSTREAM_FAULT, Owner
from computer_use_cache.proxy.http.server import CacheHttp1Server
from computer_use_cache.proxy.http.stream import CacheStream
from computer_use_cache.proxy.http.websocket import WebsocketServer


def with_cache_layer(layer: Layer, make: Callable[[Context, HTTPMode], CacheHttpLayer]) -> Layer:
    """A decision of `next_layer` with mitmproxy's HTTP layer replaced by ours, also where it lies under TLS layers."""
    if type(layer) is HttpLayer:
        layer.context.layers.remove(layer)
        return make(layer.context, layer.mode)
    if isinstance(layer, TunnelLayer):
        layer.child_layer = with_cache_layer(layer.child_layer, make)
    return layer


def take_apart(layers: Iterable[Layer]) -> None:
    """Empty layers that will never handle another event, and those below them.

    Layers refer to themselves and to each other in circles. Otherwise they wait for the garbage collector, which runs
    minutes later and holds up every agent.
    """
    for layer in tuple(layers):
        if isinstance(layer, CacheHttpLayer) and vars(layer):
            layer.end()
        vars(layer).clear()


def _forked(context: Context) -> Context:
    """`context.fork()` without the server that mitmproxy makes for each and throws away."""
    forked = copy.copy(context)
    forked.layers = context.layers.copy()
    return forked


def _unconnected(server: Server) -> Server:
    """Another server that is reached in the same way."""
    other = Server(address=server.address, transport_protocol=server.transport_protocol)
    other.tls, other.sni, other.via = server.tls, server.sni, server.via
    return other


class CacheHttpLayer(HttpLayer):
    """One client connection, noted in `connections`. Other hosts are reached through `proxies`."""

    def __init__(
        self, context: Context, mode: HTTPMode, owner: Owner, *, proxies: Proxies, connections: Connections
    ) -> None:
        super().__init__(context, mode)
        self._owner = owner
        self._proxies = proxies
        self._connections = connections
        self._watch: commands.RequestWakeup | None = None
        self._clients: dict[Connection, CacheHttp1Client] = {}
        connections.add(self)

    @property
    def unanswered(self) -> int:
        """How many exchanges have not ended. Tunnels and websockets do not count: they have no end."""
        return sum(stream.child_layer is None for stream in self.streams.values())

    def make_stream(self, stream_id: int) -> CommandGenerator[None]:
        self.streams[stream_id] = CacheStream(
            _forked(self.context), stream_id, self._owner, self._proxies, self._make_websocket
        )
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def _make_websocket(self, context: Context, handshake: http.Request) -> Layer:
        # The stream that carries the websocket would take what is sent to its own server for a message.
        context.server = _unconnected(context.server)
        return WebsocketLayer(
            context, self.mode, self._owner, proxies=self._proxies, connections=self._connections, handshake=handshake
        )

    def make_server(self) -> HttpConnection:
        """The part that reads the client's requests, unless they come over HTTP/2."""
        return CacheHttp1Server(self.context.fork())

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.Start) and self.context.client.alpn not in (b"h2", b"h3"):
            self.connections[self.context.client] = self.make_server()
        match event:
            case events.Wakeup() if event.command is self._watch:
                self._watch = None
                yield from self._end_silent_streams()
            case events.Wakeup() if event.command not in self.command_sources:
                pass  # its exchange has ended, and its client has left
            case events.ConnectionClosed() if self._is_forgotten(event.connection):
                pass
            case _:
                yield from super()._handle_event(event)
        if isinstance(event, (events.ConnectionClosed, events.OpenConnectionCompleted)):
            self._forget_closed_upstreams()
        if self.context.client.state is ConnectionState.CLOSED and not self.streams:
            self._let_go()
        yield from self._keep_watch()

    def register_connection(self, command: RegisterHttpConnection) -> CommandGenerator[None]:
        layers = self.connections[command.connection].context.layers
        if type(layers[-1]) is Http1Client:  # mitmproxy has just made it, and has not used it yet
            replaced, above = layers.pop(), layers[-1]
            context = replaced.context
            take_apart([replaced])
            client = self._clients[command.connection] = CacheHttp1Client(context, self._proxies, self.passed_on)
            above.child_layer = client  # type: ignore[attr-defined]  # an HttpClient
            above._handle_event = client.handle_event  # type: ignore[method-assign]
            yield from self.event_to_child(above, events.Start())
        yield from super().register_connection(command)

    def _forget_closed_upstreams(self) -> None:
        """Drop the upstream connections that nothing uses any more.

        mitmproxy keeps each one for as long as the client stays connected. One that could not be opened would even
        fail all later requests to the same upstream.
        """
        opening = (command for command in self.command_sources if isinstance(command, commands.OpenConnection))
        used: set[Connection] = {self.context.client, *self.waiting_for_establishment}
        used |= {command.connection for command in opening}
        used |= {stream.context.server for stream in self.streams.values()}
        busy = {*self.command_sources.values(), *self.streams.values()}
        gone = set[Layer]()
        for connection, upstream in tuple(self.connections.items()):
            if connection.state is ConnectionState.CLOSED and connection not in used:
                del self.connections[connection]
                self._clients.pop(connection, None)
                if upstream not in busy:
                    gone.update(upstream.context.layers)
        # The connection to a forward proxy, and the one through it, have layers in common.
        take_apart(gone.difference(*(one.context.layers for one in self.connections.values())))

    def _let_go(self) -> None:
        """Let go of the exchanges of a client that has left: mitmproxy's layers refer to each other, and stay in memory
        until the garbage collector looks at them."""
        self._forget_closed_upstreams()
        server = self.connections.get(self.context.client)
        if isinstance(server, CacheHttp1Server):
            server.forget_exchange()
        for command in tuple(self.command_sources):
            if isinstance(command, commands.RequestWakeup):
                del self.command_sources[command]

    def end(self) -> None:
        """No event will come any more."""
        self._connections.discard(self)
        parts = {*self.connections.values(), *self.streams.values()}
        parts |= {stream.child_layer for stream in self.streams.values() if stream.child_layer}
        take_apart({layer for part in parts for layer in part.context.layers}.difference(self.context.layers))

    def _is_forgotten(self, connection: Connection) -> bool:
        """Whether this is the end of a connection that was dropped after it had been told to close."""
        return connection.state is ConnectionState.CLOSED and connection not in self.connections

    def passed_on(self, upstream: Connection, received: bytes) -> bytes | None:
        """What to send to the client for chunks of a streamed answer; None for everything that is not plain chunks.

        A chunk would otherwise be twelve events and commands on its way through mitmproxy's layers.
        """
        client = self._clients.get(upstream)
        if client is None or client.stream_id is None or self._paused:
            return None
        server, stream = self.connections.get(self.context.client), self.streams.get(client.stream_id)
        if type(server) is not CacheHttp1Server or server._paused or not isinstance(stream, CacheStream):
            return None
        if self.context.client.state is not ConnectionState.OPEN:
            return None
        data = client.whole_chunks(received)
        piece = None if data is None else stream.passed_on(data)
        return server.chunk(piece) if piece else piece

    def _waiting(self) -> list[CacheStream]:
        return [s for s in self.streams.values() if isinstance(s, CacheStream) and s.heard_upstream is not None]

    def _keep_watch(self) -> CommandGenerator[None]:
        """One timer per connection, not per request, because mitmproxy cannot cancel timers."""
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


class WebsocketLayer(CacheHttpLayer):
    """The requests that the messages of one websocket become. `handshake` is the request that opened it."""

    def __init__(
        self,
        context: Context,
        mode: HTTPMode,
        owner: Owner,
        *,
        proxies: Proxies,
        connections: Connections,
        handshake: http.Request,
    ) -> None:
        super().__init__(context, mode, owner, proxies=proxies, connections=connections)
        self._handshake = handshake

    def make_server(self) -> HttpConnection:
        return WebsocketServer(self.context.fork(), self._handshake)

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> CommandGenerator[None]:
        # Several requests may be under way. mitmproxy only expects that of HTTP/2, and would share a busy connection.
        # One that has just been opened is meant for the request that had it opened.
        busy = {*self.waiting_for_establishment, *(stream.context.server for stream in self.streams.values())}
        suitable = (one for one in self.connections if event.connection_spec_matches(one))
        idle = next((one for one in suitable if one.connected and one not in busy), None)
        if idle is None:
            yield from super().get_connection(event, reuse=False)
        else:
            stream = self.command_sources.pop(event)
            yield from self.event_to_child(stream, GetHttpConnectionCompleted(event, (idle, None)))
