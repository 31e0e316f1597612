"""The private and undocumented parts of libraries that this package leans on. A release that changes one fails here, by
its name; pyproject.toml allows no other release than those that were tried.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
import h11._readers
import pytest
from mitmproxy.flow import Flow
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.server import ConnectionHandler, TimeoutWatchdog

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINNED = {"h11": "<", "diskcache": "<", "mitmproxy": "<13", "cryptography": ""}
"""Libraries that are imported, and the bound that each needs."""

HTTP = "mitmproxy.proxy.layers.http"
CALLABLES = {
    "h11._readers:ChunkedReader.__call__": "self buf",
    "h11._readers:ContentLengthReader.__init__": "self length",
    "h11._receivebuffer:ReceiveBuffer.maybe_extract_at_most": "self count",
    "h11._receivebuffer:ReceiveBuffer.maybe_extract_lines": "self",
    "diskcache.core:Disk._write": "self full_path iterator mode encoding",
    f"{HTTP}:HttpStream.state_wait_for_response_headers": "self event",
    f"{HTTP}:HttpStream.state_consume_response_body": "self event",
    f"{HTTP}:HttpStream.state_stream_response_body": "self event",
    f"{HTTP}:HttpStream.state_stream_request_body": "self event",
    f"{HTTP}:HttpStream.start_request_stream": "self",
    f"{HTTP}:HttpStream.start_response_stream": "self",
    f"{HTTP}:HttpStream.make_server_connection": "self",
    f"{HTTP}:HttpStream.handle_connect_regular": "self",
    f"{HTTP}:HttpStream.handle_connect_upstream": "self",
    f"{HTTP}:HttpStream.handle_protocol_error": "self event",
    f"{HTTP}:HttpStream.check_body_size": "self request",
    f"{HTTP}:HttpStream.check_invalid": "self request",
    f"{HTTP}:HttpStream.check_killed": "self emit_error_hook",
    f"{HTTP}:HttpStream.send_response": "self already_streamed",
    f"{HTTP}:HttpStream.flow_done": "self",
    f"{HTTP}:HttpStream.passthrough": "self event",
    f"{HTTP}:HttpLayer.make_stream": "self stream_id",
    f"{HTTP}:HttpLayer.register_connection": "self command",
    f"{HTTP}:HttpLayer.get_connection": "self event reuse",
    f"{HTTP}:HttpLayer.event_to_child": "self child event",
    f"{HTTP}:HttpConnection.__init__": "self context conn",
    f"{HTTP}:GetHttpConnection.__init__": "self address tls via transport_protocol",
    f"{HTTP}:Http1Client.read_headers": "self event",
    f"{HTTP}:Http1Client.read_body": "self event",
    f"{HTTP}:Http1Client.send": "self event",
    f"{HTTP}:Http1Server.read_headers": "self event",
    f"{HTTP}:Http1Server.read_body": "self event",
    f"{HTTP}:Http1Server.send": "self event",
    "mitmproxy.http:MessageData.__post_init__": "self",
    "mitmproxy.certs:dummy_cert": "privkey cacert commonname sans organization crl_url",
    "mitmproxy.addonmanager:AddonManager.trigger_event": "self event",
    "mitmproxy.addonmanager:AddonManager._iter_hooks": "self addon event",
    "mitmproxy.addonmanager:AddonManager.register": "self addon",
    "mitmproxy.addonmanager:AddonManager.remove": "self addon",
    "mitmproxy.proxy.mode_servers:ProxyConnectionHandler.__init__": "self master r w options mode",
    "mitmproxy.proxy.server:ConnectionHandler.handle_client": "self",
    "mitmproxy.proxy.server:ConnectionHandler.handle_connection": "self connection",
    "mitmproxy.proxy.server:ConnectionHandler.server_event": "self event",
    "mitmproxy.proxy.server:ConnectionHandler.hook_task": "self hook",
    "asyncio.transports:BaseTransport.set_protocol": "self protocol",
    "asyncio.transports:BaseTransport.get_protocol": "self",
}
"""Each with its parameters: we call it, or override it."""
ATTRIBUTES: dict[str, tuple[Callable[..., Any], str]] = {
    "h11's ContentLengthReader": (h11._readers.ContentLengthReader, "_remaining"),
    "h11's ChunkedReader": (h11._readers.ChunkedReader, "_bytes_in_chunk _bytes_to_discard _reading_trailer"),
    "diskcache's Cache": (diskcache.Cache, "_con _directory _local _txn_id _disk _page_size"),
    "mitmproxy's HttpStream": (HttpStream, "request_body_buf response_body_buf client_state server_state child_layer"),
    "mitmproxy's HttpLayer": (HttpLayer, "streams connections command_sources waiting_for_establishment mode"),
    "mitmproxy's Flow": (Flow, "_backup"),
    "asyncio's StreamReaderProtocol": (asyncio.StreamReaderProtocol, "_client_connected_cb"),
    "mitmproxy's Layer": (Layer, "_paused _paused_event_queue"),
    "mitmproxy's ConnectionHandler": (
        ConnectionHandler,
        "transports timeout_watchdog layer max_conns wakeup_timer _server_event_lock",
    ),
    "mitmproxy's TimeoutWatchdog": (TimeoutWatchdog, "callback"),
    "asyncio's StreamReader": (asyncio.StreamReader, "_waiter"),
    "asyncio's Lock": (asyncio.Lock, "_waiters"),
}
"""Classes, and the attributes of their instances that we read or set."""


@pytest.mark.parametrize("place", CALLABLES)
def test_a_part_that_is_called_or_overridden_has_the_parameters_that_were_tried(place: str) -> None:
    module, _, path = place.partition(":")
    part: Any = importlib.import_module(module)
    for name in path.split("."):
        part = getattr(part, name)
    assert " ".join(inspect.signature(part).parameters) == CALLABLES[place]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_that_is_read_or_set_exists(name: str) -> None:
    owner, attributes = ATTRIBUTES[name]
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(attributes.split()) <= named


@pytest.mark.parametrize("library", PINNED)
def test_the_libraries_are_declared_with_their_bounds(library: str) -> None:
    declared = next((text for text in PROJECT["dependencies"] if text.startswith(library)), "not declared")
    assert declared != "not declared"
    assert PINNED[library] in declared
