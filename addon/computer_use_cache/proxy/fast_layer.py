"""The layer of the fast lane: it holds a request until it is whole, then answers it, or hands all of it, byte for byte,
to the HTTP layer below. As soon as that one has nothing left to do, the next request is tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import HTTPMode

from computer_use_cache.cache import Plan
from computer_use_cache.proxy.fast_lane import Admitted, FastLane, Hit, Line, line_of
from computer_use_cache.proxy.http1 import CacheHttp1Server
from computer_use_cache.proxy.layer import CacheHttpLayer, Owner

_LONGEST_HEAD = 64 * 1024


@dataclass(slots=True)
class Search:
    """What is looked for, and what was found."""

    lane: FastLane
    admitted: Admitted
    body: bytes
    found: Hit | Plan | None = None


@dataclass
class CacheFindHook(commands.StartHook):
    """Asks the addon to look for an answer in a thread."""

    search: Search
    name = "cache_find"
    blocking = True


class FastHttpLayer(CacheHttpLayer):
    """One client connection. `lane` gives the lane of the moment, None when it is closed."""

    def __init__(self, context: Context, mode: HTTPMode, owner: Owner, lane: Callable[[], FastLane | None]) -> None:
        super().__init__(context, mode, owner)
        self._lane = lane
        self._line: Line | None = None
        self._held: list[bytes] = []
        """What came of a request: pieces of its head; once that is admitted, the head and pieces of the body."""
        self._admitted: Admitted | None = None
        self._digest: Any = None
        self._missing = 0
        """Bytes of the body still to come."""

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        is_from_client = isinstance(event, events.ConnectionEvent) and event.connection is self.context.client
        if is_from_client and isinstance(event, events.DataReceived) and (self._held or self._is_idle()):
            yield from self._receive(event.data)
            return
        if is_from_client and self._held:
            yield from self._hand_over()
        yield from super()._handle_event(event)

    def _is_idle(self) -> bool:
        """Whether the layer below waits for a new request."""
        server = self.connections.get(self.context.client)
        return (
            type(server) is CacheHttp1Server
            and server.state == server.read_headers
            and not server.buf
            and not self.streams
            and self.mode is HTTPMode.transparent
        )

    def _receive(self, data: bytes) -> CommandGenerator[None]:
        while data:
            lane = self._lane()
            if self._admitted is None:
                self._held = [b"".join((*self._held, data))]
                data = self._admit(lane, self._held[0]) if lane else b""
                if self._admitted is None:
                    if lane is None or not _is_unfinished(self._held[0]):
                        yield from self._hand_over()
                    return
            piece, data = data[: self._missing], data[self._missing :]
            self._held.append(piece)
            self._digest.update(piece)
            self._missing -= len(piece)
            if self._missing:
                return
            wire = (yield from self._answer(lane, self._admitted)) if lane else None
            if wire is None:
                self._held.append(data)
                yield from self._hand_over()
                return
            self._held, self._admitted = [], None
            if self.context.client.state & ConnectionState.CAN_WRITE:
                yield commands.SendData(self.context.client, wire)

    def _admit(self, lane: FastLane, received: bytes) -> bytes:
        """Look at a head that is whole; what came of the body."""
        if self._line is None:
            self._line = line_of(self.context)
        end = received.find(b"\r\n\r\n") + 4
        if self._line and end > 3 and (admitted := lane.admit(self._line, received[:end])):
            self._admitted, self._missing, self._digest = admitted, admitted.length, admitted.digest.copy()
            self._held = [received[:end]]
        return received[end:]

    def _answer(self, lane: FastLane, admitted: Admitted) -> CommandGenerator[bytes | None]:
        """The answer; without one, the plan goes along to the normal way, which need not make it again."""
        digest = self._digest.digest()
        if known := lane.known(digest):
            return known
        body = b"".join(self._held[1:])
        if lane.is_quick(admitted):
            found = lane.find(admitted, body)
        else:
            search = Search(lane, admitted, body)
            yield CacheFindHook(search)
            found = search.found
        if isinstance(found, Hit):
            return lane.serve(digest, found)
        if found:
            self._owner.expect(self.context.client.id, found)
        return None

    def _hand_over(self) -> CommandGenerator[None]:
        data = b"".join(self._held)
        self._held, self._admitted = [], None
        yield from super()._handle_event(events.DataReceived(self.context.client, data))


def _is_unfinished(head: bytes) -> bool:
    """Whether more of a head must come before it can be judged; a bare line feed ends a line for mitmproxy."""
    return len(head) <= _LONGEST_HEAD and b"\r\n\r\n" not in head and head.count(b"\n") == head.count(b"\r\n")
