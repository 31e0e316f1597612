"""The fast path on the listening socket: a connection whose requests are all hits never reaches mitmproxy.

The first request that is not a hit hands the connection over to mitmproxy, starting with that request's first byte.
From then on the fast path works inside mitmproxy's layers (client_layer.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import assert_never, cast

from computer_use_cache.exchange.decisions import Postpone
from computer_use_cache.proxy.connections import Connections
from computer_use_cache.proxy.fast_path.conversation import Action, Conversation, HandOver, Search, search_quickly
from computer_use_cache.proxy.fast_path.lookup import Arrival, FastPath
from computer_use_cache.proxy.fast_path.searches import Searches
from computer_use_cache.setting_values import is_loopback

logger = logging.getLogger(__name__)


class FastPathProtocol(asyncio.Protocol):
    """One client connection to the proxy itself, listed in `connections`. Its searches are run with those of the others
    by `searches`.

    `fast_path` returns the fast path while it is open, else None; `make_next` makes mitmproxy's protocol. As in
    mitmproxy, a client that is silent for `idle_seconds` is disconnected.
    """

    def __init__(
        self,
        fast_path: Callable[[], FastPath | None],
        connections: Connections,
        searches: Searches,
        make_next: Callable[[], asyncio.Protocol],
        idle_seconds: float,
    ) -> None:
        self._fast_path = fast_path
        self._connections = connections
        self._searches = searches
        self._make_next = make_next
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._search: Search | None = None
        """The search that is being run."""
        self._task: asyncio.Task[None] | None = None
        self._actions: Iterator[Action] = iter(())
        """What is left to do about the bytes received last."""
        self._is_full = False
        """True while the client does not read its answers."""
        self._is_handed_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._connections.add(self)
        self._last_heard = self._loop.time()
        self._watch = self._loop.call_later(self._idle_seconds, self._end_if_idle)
        addresses = [transport.get_extra_info(name) for name in ("peername", "sockname")]
        if not all(addresses):  # the client reset the connection before it was accepted
            self._transport.abort()
            return
        peer, place = (address[0] for address in addresses)
        self._conversation = Conversation(Arrival(peer, place, None, ""), self._fast_path)
        if not is_loopback(peer):  # mitmproxy decides whether to accept it
            self._hand_over(self._conversation.end())

    def _end_if_idle(self) -> None:
        rest = self._last_heard + self._idle_seconds - self._loop.time()
        if rest > 0 or self._search:
            self._watch = self._loop.call_later(max(rest, 1.0), self._end_if_idle)
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._last_heard = self._loop.time()
        if self._search:
            self._conversation.hold(data)
            return
        self._actions = self._conversation.receive(data)
        self._act()

    def _act(self) -> None:
        """Do what is left to do, until a search or a full buffer interrupts it."""
        for action in self._actions:
            match action:
                case bytes():
                    self._transport.write(action)
                    if self._is_full:
                        return
                case Search() if len(self._connections) > 1:
                    self._search = action
                    self._searches.add(action, self._go_on)
                    return
                case Search():  # there is no other search to wait for
                    search_quickly([action])
                    if action.found is Postpone.POSTPONE:
                        self._search = action
                        self._go_on()
                        return
                case HandOver():
                    self._hand_over(action)
                case _:
                    assert_never(action)

    def _go_on(self) -> None:
        """Go on after a search on the event loop. If it was postponed, it is run in a thread."""
        if self._search and self._search.found is Postpone.POSTPONE:
            self._transport.pause_reading()
            self._task = self._loop.create_task(self._run(self._search))
            return
        try:
            self._resume()
        except Exception:
            logger.exception("a connection failed after a search")
            self._transport.abort()

    async def _run(self, search: Search) -> None:
        try:
            await asyncio.to_thread(search.run)
        except Exception as error:  # no thread can be started
            search.fast_path.failures.failed(error)
            search.found = None
        self._go_on()

    def _resume(self) -> None:
        self._search = None
        if not self._is_handed_over and not self._transport.is_closing():
            self._transport.resume_reading()
            self._act()

    def _hand_over(self, rest: HandOver) -> asyncio.Protocol:
        self._watch.cancel()
        self._connections.discard(self)
        self._is_handed_over = True
        following = self._make_next()
        self._transport.set_protocol(following)
        following.connection_made(self._transport)
        for piece in rest.pieces:
            following.data_received(piece)
        return following

    def pause_writing(self) -> None:
        self._is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._search is None:
            self._resume()

    def eof_received(self) -> bool | None:
        if self._conversation.is_between_requests:
            return False
        return self._hand_over(self._conversation.end()).eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._watch.cancel()
        self._connections.discard(self)

    @property
    def unanswered(self) -> int:
        """1 if an answer is being looked for or not sent yet."""
        return int(self._search is not None or self._transport.get_write_buffer_size() > 0)
