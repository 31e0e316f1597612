"""The fast path inside mitmproxy's layers, for connections that do not begin with it: TLS and interception.

A request is held until it is complete. It is then answered here, or passed to the HTTP layer byte for byte. The fast
path takes the next request once the HTTP layer has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.mode_specs import ReverseMode

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Postpone
from computer_use_cache.network import Proxies
from computer_use_cache.proxy.connections import Connections
from computer_use_cache.proxy.fast_path.conversation import Conversation, HandOver, Search, search_quickly
from computer_use_cache.proxy.fast_path.lookup import Arrival, FastPath
from computer_use_cache.proxy.http.layer import CacheHttpLayer
from computer_use_cache.proxy.http.owner import Owner
from computer_use_cache.proxy.http.server import CacheHttp1Server
from computer_use_cache.setting_values import BaseUrl


@dataclass
class CacheFindHook(commands.StartHook):
    """Asks the addon to run a search in a thread."""

    search: Search
    name = "cache_find"
    blocking = True


class FastHttpLayer(CacheHttpLayer):
    """One client connection. `fast_path` returns the fast path while it is open, else None."""

    def __init__(
        self,
        context: Context,
        mode: HTTPMode,
        owner: Owner,
        *,
        proxies: Proxies,
        connections: Connections,
        fast_path: Callable[[], FastPath | None],
    ) -> None:
        super().__init__(context, mode, owner, proxies=proxies, connections=connections)
        self._fast_path = fast_path
        self._conversation: Conversation | None = None

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.ConnectionEvent) and event.connection is self.context.client:
            if self._conversation is None:
                self._conversation = Conversation(arrival_of(self.context), self._fast_path)
            is_between_requests = self._conversation.is_between_requests
            if isinstance(event, events.DataReceived) and (not is_between_requests or self._is_idle()):
                yield from self._receive(self._conversation, event.data)
                return
            if not is_between_requests:
                yield from self._hand_over(self._conversation.end())
        yield from super()._handle_event(event)

    def _is_idle(self) -> bool:
        """True if the HTTP layer waits for a new request."""
        server = self.connections.get(self.context.client)
        return (
            type(server) is CacheHttp1Server
            and server.state == server.read_headers
            and not server.buf
            and not self.streams
            and self.mode is HTTPMode.transparent
        )

    def _receive(self, conversation: Conversation, data: bytes) -> CommandGenerator[None]:
        for action in conversation.receive(data):
            match action:
                case bytes():
                    if self.context.client.state & ConnectionState.CAN_WRITE:
                        yield commands.SendData(self.context.client, action)
                case Search():
                    search_quickly([action])
                    if action.found is Postpone.POSTPONE:
                        yield CacheFindHook(action)
                case HandOver():
                    yield from self._hand_over(action)
                case _:
                    assert_never(action)

    def _hand_over(self, rest: HandOver) -> CommandGenerator[None]:
        """Pass the rest to the HTTP layer. A plan that was made is kept, so that it is not made again."""
        if rest.search and isinstance(rest.search.found, Plan):
            request = rest.search.admitted.request(rest.search.body)
            self._owner.expect(self.context.client.id, request, rest.search.found)
        for piece in rest.pieces:
            yield from super()._handle_event(events.DataReceived(self.context.client, piece))


def arrival_of(context: Context) -> Arrival | None:
    """How a client's requests arrive, None if the fast path cannot serve them."""
    client, server = context.client, context.server
    if client.alpn in (b"h2", b"h3") or not client.peername or not client.sockname or not server.address:
        return None
    host, port = server.address
    if isinstance(client.proxy_mode, ReverseMode):
        return Arrival(client.peername[0], client.sockname[0], None, "")
    proven = (client.sni or host).lower()
    try:
        name = f"[{proven}]" if ":" in proven else proven
        origin = BaseUrl.parse(f"{'https' if server.tls else 'http'}://{name}:{port}").origin
    except ValueError:
        return None
    return Arrival(client.peername[0], client.sockname[0], origin, proven)
