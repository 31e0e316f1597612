"""The fast path before mitmproxy's streams: a connection whose requests are all hits is served here.

The first request that is no hit hands the connection over to mitmproxy, from that request's first byte on. The fast
path then works inside mitmproxy's layers (client_layer.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Postpone
from computer_use_cache.proxy.connections import Connections
from computer_use_cache.proxy.fast_path.lookup import FastLane, Hit, Line
from computer_use_cache.proxy.fast_path.reader import Intake, Step
from computer_use_cache.setting_values import is_loopback


class Front(asyncio.Protocol):
    """One client connection to the proxy itself, noted in `connections`.

    `lane` returns the fast path of the moment, None while it is closed, and `make_next` mitmproxy's protocol. As in
    mitmproxy, a client that is silent for `idle_seconds` is disconnected.
    """

    def __init__(
        self,
        lane: Callable[[], FastLane | None],
        connections: Connections,
        make_next: Callable[[], asyncio.Protocol],
        idle_seconds: float,
    ) -> None:
        self._lane = lane
        self._connections = connections
        self._make_next = make_next
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._search: asyncio.Task[None] | None = None
        self._unread = b""
        """What arrived while the client did not read its answers."""
        self._is_stuffed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._connections.add(self)
        peer, place = (transport.get_extra_info(name)[0] for name in ("peername", "sockname"))
        self._intake = Intake(Line(peer, place, None, ""))
        self._heard = self._loop.time()
        self._watch = self._loop.call_later(self._idle_seconds, self._end_if_idle)
        if not is_loopback(peer):  # mitmproxy decides whether it is let in
            self._hand_over()

    def _end_if_idle(self) -> None:
        rest = self._heard + self._idle_seconds - self._loop.time()
        if rest > 0 or self._search:
            self._watch = self._loop.call_later(max(rest, 1.0), self._end_if_idle)
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        while data:
            if self._is_stuffed:
                self._unread = data
                return
            lane = self._lane()
            step = self._intake.feed(data, lane)
            if step is Step.WAIT:
                return
            if lane is None or step is Step.FOREIGN:
                self._hand_over()
                return
            wire = lane.known(self._intake.length, self._intake.digest)
            if wire is None and lane.is_quick(self._intake.length):
                assert self._intake.admitted
                found = lane.find_quickly(self._intake.admitted, self._intake.body())
                if found is not Postpone.POSTPONE and (wire := self._served(lane, found)) is None:
                    self._hand_over()
                    return
            if wire is None:
                self._transport.pause_reading()
                self._search = self._loop.create_task(self._answer_slowly(lane))
                return
            self._transport.write(wire)
            data = self._intake.done()

    async def _answer_slowly(self, lane: FastLane) -> None:
        assert self._intake.admitted
        found = await asyncio.to_thread(lane.find, self._intake.admitted, self._intake.body())
        self._search = None
        if self._transport.is_closing():
            return
        if (wire := self._served(lane, found)) is None:
            self._transport.resume_reading()
            self._hand_over()
        else:
            self._transport.write(wire)
            self._read_on(self._intake.done())

    def _served(self, lane: FastLane, found: Hit | Plan | None) -> bytes | None:
        return lane.serve(found, self._intake.digest) if isinstance(found, Hit) else None

    def _read_on(self, data: bytes) -> None:
        """Handle what arrived before reading was paused, and resume reading unless that pauses it again."""
        self._transport.resume_reading()
        self.data_received(data)
        if self._is_stuffed:
            self._transport.pause_reading()

    def _hand_over(self) -> asyncio.Protocol:
        self._watch.cancel()
        self._connections.discard(self)
        following = self._make_next()
        self._transport.set_protocol(following)
        following.connection_made(self._transport)
        if data := self._intake.give_up():
            following.data_received(data)
        return following

    def pause_writing(self) -> None:
        self._is_stuffed = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_stuffed = False
        if self._search is None:
            unread, self._unread = self._unread, b""
            self._read_on(unread)

    def eof_received(self) -> bool | None:
        return False if self._intake.is_empty else self._hand_over().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._watch.cancel()
        self._connections.discard(self)

    @property
    def unanswered(self) -> int:
        """1 if an answer is being looked for or not sent yet."""
        return int(self._search is not None or self._transport.get_write_buffer_size() > 0)
