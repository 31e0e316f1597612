"""Which intercepted connections are decrypted and parsed: those to a host in CACHE_HOSTS, and no other.

Every other one is tunnelled untouched, so that its own certificate reaches the client. Over TLS the name that the
client asks for decides (SNI), because the upstream's certificate must be valid for it; without one, the address
that it asked the proxy to connect to. `allow_hosts` of mitmproxy, where it is set, takes this decision over.
"""

from __future__ import annotations

from mitmproxy import ctx, http
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers import TCPLayer, UDPLayer
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.tls import ClientHelloData

from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.http.owner import FOREIGN
from computer_use_cache.proxy.http.stream import pass_body_through
from computer_use_cache.proxy.unseen import Unseen


def judge_handshake(hello: ClientHelloData, gate: Gate, unseen: Unseen) -> None:
    """Have a TLS or QUIC connection tunnelled, its handshake included, unless its answers are cached."""
    address = hello.context.server.address
    if not _is_intercepted(hello.context) or address is None:  # without an address, it is TLS to the proxy itself
        return
    host = hello.client_hello.sni or address[0]
    if not gate.is_cached_host(host):
        hello.ignore_connection = True
        unseen.tunnelled(host.lower())


def without_encryption(layer: Layer, gate: Gate, unseen: Unseen) -> Layer:
    """A decision of `next_layer`, with a tunnel in place of plain HTTP to another host and of anything but HTTP."""
    context = layer.context
    address = context.server.address
    if not _is_intercepted(context) or address is None or context.client.tls or gate.is_cached_host(address[0]):
        return layer
    is_http = isinstance(layer, HttpLayer) and layer.mode is HTTPMode.transparent
    if not is_http and not isinstance(layer, TCPLayer | UDPLayer):
        return layer
    if is_http:
        unseen.tunnelled(address[0].lower())
    context.layers.remove(layer)
    tunnel = TCPLayer if context.client.transport_protocol == "tcp" else UDPLayer
    return tunnel(context, ignore=not ctx.options.show_ignored_hosts)


def pass_by(flow: http.HTTPFlow, unseen: Unseen) -> None:
    """Let a flow that does not concern the cache pass untouched. Plain HTTP requests to other hosts may share a
    connection to the proxy with any others, so they cannot be tunnelled."""
    flow.metadata[FOREIGN] = True
    if not ctx.options.allow_hosts:
        pass_body_through(flow)
        unseen.watch(flow)


def _is_intercepted(context: Context) -> bool:
    return not isinstance(context.client.proxy_mode, ReverseMode) and not ctx.options.allow_hosts
