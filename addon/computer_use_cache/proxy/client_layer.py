"""The fast path inside mitmproxy's layers, for connections that it does not see before them: TLS and interception.

A request is held until it is whole. It is then answered here, or passed byte for byte to the HTTP layer. The next
request is tried again once that layer has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import HTTPMode

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Postpone
from computer_use_cache.network import Proxies
from computer_use_cache.proxy.connections import Connections
from computer_use_cache.proxy.fast_path.lookup import Admitted, FastLane, Hit, line_of
from computer_use_cache.proxy.fast_path.reader import Intake, Step
from computer_use_cache.proxy.http.layer import CacheHttpLayer
from computer_use_cache.proxy.http.owner import Owner
from computer_use_cache.proxy.http.server import CacheHttp1Server


@dataclass(slots=True)
class Search:
    """A request to find the answer of, and what was found."""

    lane: FastLane
    admitted: Admitted
    body: bytes
    found: Hit | Plan | None = None


@dataclass
class CacheFindHook(commands.StartHook):
    """Asks the addon to find an answer in a thread."""

    search: Search
    name = "cache_find"
    blocking = True


class FastHttpLayer(CacheHttpLayer):
    """One client connection. `lane` returns the fast path of the moment, None while it is closed."""

    def __init__(
        self,
        context: Context,
        mode: HTTPMode,
        owner: Owner,
        *,
        proxies: Proxies,
        connections: Connections,
        lane: Callable[[], FastLane | None],
    ) -> None:
        super().__init__(context, mode, owner, proxies, connections)
        self._lane = lane
        self._intake: Intake | None = None

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        is_from_client = isinstance(event, events.ConnectionEvent) and event.connection is self.context.client
        if is_from_client:
            if self._intake is None:
                self._intake = Intake(line_of(self.context))
            if isinstance(event, events.DataReceived) and (not self._intake.is_empty or self._is_idle()):
                yield from self._receive(self._intake, event.data)
                return
            if not self._intake.is_empty:
                yield from self._hand_over(self._intake)
        yield from super()._handle_event(event)

    def _is_idle(self) -> bool:
        """Whether the HTTP layer waits for a new request."""
        server = self.connections.get(self.context.client)
        return (
            type(server) is CacheHttp1Server
            and server.state == server.read_headers
            and not server.buf
            and not self.streams
            and self.mode is HTTPMode.transparent
        )

    def _receive(self, intake: Intake, data: bytes) -> CommandGenerator[None]:
        while data:
            lane = self._lane()
            step = intake.feed(data, lane)
            if step is Step.WAIT:
                return
            wire = (yield from self._answer(lane, intake)) if lane and step is Step.WHOLE else None
            if wire is None:
                yield from self._hand_over(intake)
                return
            data = intake.done()
            if self.context.client.state & ConnectionState.CAN_WRITE:
                yield commands.SendData(self.context.client, wire)

    def _answer(self, lane: FastLane, intake: Intake) -> CommandGenerator[bytes | None]:
        """The answer, if there is one. If not, the plan is noted so that the normal way need not make it again."""
        if known := lane.known(intake.length, intake.digest):
            return known
        assert intake.admitted
        search = Search(lane, intake.admitted, intake.body())
        quick = lane.find_quickly(search.admitted, search.body) if lane.is_quick(intake.length) else Postpone.POSTPONE
        if quick is Postpone.POSTPONE:
            yield CacheFindHook(search)
        else:
            search.found = quick
        if isinstance(search.found, Hit):
            return lane.serve(search.found, intake.digest)
        if search.found:
            self._owner.expect(self.context.client.id, search.admitted.request(search.body), search.found)
        return None

    def _hand_over(self, intake: Intake) -> CommandGenerator[None]:
        yield from super()._handle_event(events.DataReceived(self.context.client, intake.give_up()))
