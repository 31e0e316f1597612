"""An exchange that has ended is freed at once, with the screenshots in its request."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test.tflow import tclient_conn
from mitmproxy.utils import typecheck

from computer_use_cache.network import Proxies
from computer_use_cache.proxy.connections import Connections
from computer_use_cache.proxy.http.layer import CacheHttpLayer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what mitmproxy's own addons import
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.test import taddons

UPSTREAM = "127.0.0.1", 9
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: upstream\r\ncontent-length: 2\r\n\r\n{}"
RESPONSES = {
    "whole": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}


class Owner:
    """An addon that leaves every request to the upstream."""

    def feed_of(self, flow: http.HTTPFlow) -> None:
        return None

    def is_held(self, flow: http.HTTPFlow) -> bool:
        return False

    def upstream_timeout(self) -> float:
        return 600.0


class Wire:
    """Runs a layer without sockets: every hook and every connection succeeds at once."""

    def __init__(self) -> None:
        with taddons.context(Proxyserver()) as started:
            started.options.keep_host_header = True
            options = started.options
        client = tclient_conn()
        client.proxy_mode = ProxyMode.parse("reverse:http://127.0.0.1:9")
        client.alpn = None
        self.context = Context(client, options)
        self.context.server = Server(address=UPSTREAM)
        owner: Any = Owner()
        self.layer = CacheHttpLayer(
            self.context,
            HTTPMode.transparent,
            owner,
            proxies=Proxies.from_environment({}, own_ports=set()),
            connections=Connections(),
        )
        self.flows: list[weakref.ref[http.HTTPFlow]] = []
        self.requests: list[weakref.ref[http.Request]] = []
        self.sent: dict[object, bytes] = {}
        self.server: Any = None
        self.timers: list[commands.RequestWakeup] = []
        self.give(events.Start())

    def give(self, event: events.Event) -> None:
        pending = [event]
        while pending:
            for command in self.layer.handle_event(pending.pop(0)):
                pending += self._reply(command)

    def _reply(self, command: commands.Command) -> Iterator[events.Event]:
        match command:
            case commands.SendData(connection=connection, data=data):
                self.sent[connection] = self.sent.get(connection, b"") + data
            case commands.OpenConnection(connection=connection):
                self.server = connection
                connection.state = ConnectionState.OPEN
                yield events.OpenConnectionCompleted(command, None)
            case commands.CloseConnection(connection=connection):
                is_read = bool(connection.state & ConnectionState.CAN_READ)
                connection.state = ConnectionState.CLOSED
                if is_read:
                    yield events.ConnectionClosed(connection)
            case commands.RequestWakeup():
                self.timers.append(command)
            case commands.StartHook():
                flow = getattr(command, "flow", None)
                if flow is not None and not any(known() is flow for known in self.flows):
                    self.flows.append(weakref.ref(flow))
                    self.requests.append(weakref.ref(flow.request))
                yield events.HookCompleted(command)


@pytest.fixture
def without_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only what nothing refers to is freed."""
    # mitmproxy's type checks leave cycles of their own, which the garbage collector soon finds because they are young.
    monkeypatch.setattr(typecheck, "check_option_type", lambda *_: None)
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("response", RESPONSES)
def test_a_flow_is_freed_when_its_exchange_ends(response: str, without_collector: None) -> None:
    wire = Wire()
    for _ in range(2):
        wire.give(events.DataReceived(wire.context.client, REQUEST))
        wire.give(events.DataReceived(wire.server, RESPONSES[response]))
    while wire.timers:
        wire.give(events.Wakeup(wire.timers.pop()))
    assert wire.sent[wire.context.client].count(b"200 OK") == 2
    assert [flow() for flow in wire.flows] == [None, None]


def test_a_closed_connection_does_not_hold_its_last_request(without_collector: None) -> None:
    wire = Wire()
    wire.give(events.DataReceived(wire.context.client, REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")))
    wire.give(events.DataReceived(wire.server, RESPONSES["whole"]))
    while wire.timers:
        wire.give(events.Wakeup(wire.timers.pop()))
    assert wire.sent[wire.context.client].endswith(b"{}")
    assert [request() for request in wire.requests] == [None]


BROKEN_OFF = {
    "before the upstream's answer": b"",
    "in the upstream's answer": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
    "in a chunked answer": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
}


@pytest.mark.parametrize("received", BROKEN_OFF)
def test_nothing_is_left_of_an_exchange_whose_client_leaves(received: str, without_collector: None) -> None:
    wire = Wire()
    wire.give(events.DataReceived(wire.context.client, REQUEST))
    if BROKEN_OFF[received]:
        wire.give(events.DataReceived(wire.server, BROKEN_OFF[received]))
    wire.context.client.state &= ~ConnectionState.CAN_READ
    wire.give(events.ConnectionClosed(wire.context.client))
    assert len(wire.flows) == 1
    assert [flow() for flow in wire.flows] == [None]
    assert [request() for request in wire.requests] == [None]
    while wire.timers:  # mitmproxy cancels them, unless they are due already
        wire.give(events.Wakeup(wire.timers.pop()))


def test_a_flow_is_freed_when_its_upstream_breaks_off(without_collector: None) -> None:
    wire = Wire()
    wire.give(events.DataReceived(wire.context.client, REQUEST))
    wire.give(events.DataReceived(wire.server, BROKEN_OFF["in a chunked answer"]))
    wire.server.state = ConnectionState.CLOSED
    wire.give(events.ConnectionClosed(wire.server))
    while wire.timers:
        wire.give(events.Wakeup(wire.timers.pop()))
    assert [flow() for flow in wire.flows] == [None]


def test_connections_that_the_upstream_has_closed_are_forgotten() -> None:
    wire = Wire()
    for _ in range(20):
        wire.give(events.DataReceived(wire.context.client, REQUEST))
        wire.give(events.DataReceived(wire.server, RESPONSES["whole"]))
        wire.server.state &= ~ConnectionState.CAN_READ
        wire.give(events.ConnectionClosed(wire.server))
    assert wire.sent[wire.context.client].count(b"200 OK") == 20
    assert len(wire.layer.connections) <= 2
    assert len(wire.layer._clients) <= 1
