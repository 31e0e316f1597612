"""mitmproxy's handler of one client's connections, with shorter ways for hooks and for what upstreams send.

When an addon has handled a hook, mitmproxy goes on in the next round of the event loop, which takes long when hundreds
of agents ask at once. Here it goes on at once, unless the addon waited for something.

mitmproxy wakes a task for each piece that a socket receives. While that task waits, a piece is handled in the callback
that receives it, and chunks of a streamed answer are written to the client without passing through mitmproxy's layers.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import StreamReader, StreamWriter
from collections import deque
from typing import Any, cast

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

from computer_use_cache.proxy.backpressure import MOST_UNSENT
from computer_use_cache.proxy.http.layer import CacheHttpLayer, take_apart


class CacheConnectionHandler(ProxyConnectionHandler):
    """Takes mitmproxy's place in `start` and `run`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)  # type: ignore[no-untyped-call]
        self._completed: deque[events.HookCompleted] = deque()
        """Hooks that were handled while the event that called them is still being handled."""
        self._running_hooks = 0
        self._has_ended = False

    async def handle_client(self) -> None:
        await super().handle_client()
        self._has_ended = True
        self._free_if_over()

    async def handle_connection(self, connection: Connection) -> None:
        reader = self.transports[connection].reader
        try:
            await super().handle_connection(connection)
        except asyncio.CancelledError as error:
            # mitmproxy's method holds the error, and the error would hold the method's frame, and so this handler.
            error.__traceback__ = None
            raise
        finally:
            if isinstance(reader, StreamReader) and (lost := reader.exception()):
                lost.__traceback__ = None  # for the same reason

    async def server_event(self, event: events.Event) -> None:
        if isinstance(event, events.OpenConnectionCompleted) and event.reply is None:
            self._receive_directly(event.command.connection)
        await super().server_event(event)
        while self._completed:
            await super().server_event(self._completed.popleft())

    async def hook_task(self, hook: commands.StartHook) -> None:
        self._running_hooks += 1
        try:
            await self.handle_hook(hook)
            if hook.blocking:
                await self._complete(events.HookCompleted(hook))
        finally:
            self._running_hooks -= 1
            self._free_if_over()

    async def _complete(self, hook: events.HookCompleted) -> None:
        if self._server_event_lock.locked():  # by the caller: nothing is awaited while it is
            self._completed.append(hook)
        else:
            await self.server_event(hook)

    def _free_if_over(self) -> None:
        """Free the layers and this handler once no event can come any more."""
        if not self._has_ended or self._running_hooks:
            return
        while self.wakeup_timer:
            self.wakeup_timer.pop().cancel()
        take_apart({self.layer, *self.layer.context.layers})
        del self.timeout_watchdog.callback  # a method of this handler

    def _receive_directly(self, upstream: Connection) -> None:
        if self.client not in self.transports:  # it has left, and others follow its call
            return
        client, to_upstream = self.transports[self.client].writer, self.transports[upstream].writer
        reader = self.transports[upstream].reader
        # Datagrams have streams of mitmproxy's own.
        if (
            isinstance(client, StreamWriter)
            and isinstance(to_upstream, StreamWriter)
            and isinstance(reader, StreamReader)
        ):
            transport = to_upstream.transport
            following = cast(asyncio.Protocol, transport.get_protocol())
            transport.set_protocol(_Upstream(self, upstream, reader, client.transport, following))

    @property
    def is_free(self) -> bool:
        """Whether no event is being handled or waits to be."""
        return not self._server_event_lock.locked() and not self._server_event_lock._waiters

    def receive(self, upstream: Connection, data: bytes) -> None:
        """Handle data from an upstream at once; only while the handler `is_free`."""
        asyncio.create_task(self.server_event(events.DataReceived(upstream, data)))  # noqa: RUF006  # begins at once

    def find_layer(self) -> CacheHttpLayer | None:
        """The HTTP layer that handles the client's requests, if nothing has to be encrypted or decrypted for it."""
        layers = () if self.client.tls else self.layer.context.layers
        return next((layer for layer in layers if isinstance(layer, CacheHttpLayer)), None)


class _Upstream(asyncio.Protocol):
    """Receives from an upstream, in front of the protocol that fills mitmproxy's `reader`."""

    def __init__(
        self,
        handler: CacheConnectionHandler,
        upstream: Connection,
        reader: StreamReader,
        client: asyncio.WriteTransport,
        following: asyncio.Protocol,
    ) -> None:
        self._handler = handler
        self._upstream = upstream
        self._reader = reader
        self._client = client
        self._following = following
        self._layer = None if upstream.tls else handler.find_layer()

    def data_received(self, data: bytes) -> None:
        if not self._is_awaited or self._client.is_closing() or self._client.get_write_buffer_size() > MOST_UNSENT:
            self._following.data_received(data)
            return
        try:
            piece = self._layer.passed_on(self._upstream, data) if self._layer else None
        except Exception:  # another addon's stream function has failed: mitmproxy logs that and drops the piece, too
            self._handler.log("a piece of an answer was lost", logging.ERROR, exc_info=True)
            return
        if piece is not None:
            self._handler.timeout_watchdog.register_activity()
            self._client.write(piece)
        elif self._handler.is_free:
            self._handler.receive(self._upstream, data)
        else:
            self._following.data_received(data)

    @property
    def _is_awaited(self) -> bool:
        """Whether everything received before has been handled."""
        waiter = self._reader._waiter  # type: ignore[attr-defined]
        return waiter is not None and not waiter.done()

    def eof_received(self) -> bool | None:
        return self._following.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._following.connection_lost(error)

    def pause_writing(self) -> None:
        self._following.pause_writing()

    def resume_writing(self) -> None:
        self._following.resume_writing()
