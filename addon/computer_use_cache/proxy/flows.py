"""Translates mitmproxy's flows into the core's values. No decisions."""

from __future__ import annotations

from urllib.parse import urlsplit

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode

from computer_use_cache import formats
from computer_use_cache.formats import helper_routes
from computer_use_cache.formats.base import Format
from computer_use_cache.keys import upstream
from computer_use_cache.models import Request
from computer_use_cache.proxy.content_coding import body_of
from computer_use_cache.proxy.request_head import Head
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings

_CLIENT = "cache_client"

_OWN_ANSWER = "cache_own_answer"
"""In a flow's metadata, which holds plain data only: saved flows must load without this addon."""


def is_addressed_to_proxy(flow: http.HTTPFlow) -> bool:
    """Whether the request is addressed to this proxy (reverse mode) and not to a host that is being intercepted."""
    return isinstance(flow.client_conn.proxy_mode, ReverseMode)


def path_and_query(flow: http.HTTPFlow) -> tuple[str, str]:
    """The path without its query, and the query as sent."""
    path, _, query = flow.request.path.partition("?")
    return path, query


def head_of(flow: http.HTTPFlow) -> Head:
    """The request's head before anything is rewritten."""
    path, query = path_and_query(flow)
    return Head(
        method=flow.request.method,
        path=path,
        query=upstream.query_of(query),
        authority=flow.request.authority,
        headers=lower_headers(flow.request.headers),
        peer=flow.client_conn.peername[0],
        reached_at=flow.client_conn.sockname[0],
    )


def remember_client(flow: http.HTTPFlow, name: str) -> None:
    """Note the name that CACHE_CLIENT_TOKEN gives the caller."""
    flow.metadata[_CLIENT] = name


def is_known_client(flow: http.HTTPFlow) -> bool:
    """Whether the caller sent a valid token."""
    return _CLIENT in flow.metadata


def format_of(flow: http.HTTPFlow, settings: Settings) -> Format | None:
    """The cached API that a request is for, once it points at its upstream; None if its answer is not cached."""
    found = formats.match(_split(flow, settings)[1]) if flow.request.method == "POST" else None
    return found[0] if found else None


def is_cached_path(flow: http.HTTPFlow, settings: Settings) -> bool:
    """Whether answers on this path are cached, with the right method."""
    return formats.match(_split(flow, settings)[1]) is not None


def is_helper(flow: http.HTTPFlow) -> bool:
    """Whether the request only asks something, if its path is not cached."""
    is_upgraded = "upgrade" in flow.request.headers
    return not is_upgraded and helper_routes.is_helper(flow.request.method, path_and_query(flow)[0])


def asks_for_websocket(flow: http.HTTPFlow, settings: Settings) -> bool:
    """Whether the request opens a websocket to an API that the cache answers there too."""
    if flow.request.method != "GET" or flow.request.headers.get("upgrade") != "websocket":
        return False
    found = formats.match(_split(flow, settings)[1])
    return found is not None and found[0].has_websocket


def request_of(flow: http.HTTPFlow, settings: Settings) -> Request:
    """The request as the core sees it. The flow must already point at its upstream."""
    base, below = _split(flow, settings)
    _, query = path_and_query(flow)
    headers = lower_headers(flow.request.headers)
    client = flow.metadata.get(_CLIENT, "")
    return Request(base, below, upstream.query_of(query), headers, body_of(flow.request), client)


def replace_request(flow: http.HTTPFlow, request: Request) -> None:
    """Make a flow's request this one, which differs in its path, its namespace or its body only."""
    _, query = path_and_query(flow)
    path = urlsplit(request.upstream).path + request.path
    flow.request.path = f"{path}?{query}" if query else path
    if namespace := request.headers.get("x-cache-namespace"):
        flow.request.headers["x-cache-namespace"] = namespace
    flow.request.content = request.body


def _split(flow: http.HTTPFlow, settings: Settings) -> tuple[str, str]:
    path, _ = path_and_query(flow)
    return upstream.split(origin_of(flow, settings), path, settings.upstream_base_url)


def origin_of(flow: http.HTTPFlow, settings: Settings) -> str:
    """The origin that a request goes to."""
    if is_addressed_to_proxy(flow):
        return settings.upstream_base_url.origin
    host = flow.request.pretty_host
    host = f"[{host}]" if ":" in host else host
    return BaseUrl.parse(f"{flow.request.scheme}://{host}:{flow.request.port}").origin


def lower_headers(headers: http.Headers) -> dict[str, str]:
    """The headers by lower-case name. Repeated ones are joined with a comma (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers.fields:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "surrogateescape")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def answer(flow: http.HTTPFlow, response: http.Response) -> None:
    """Answer a flow with a response that did not come from its own upstream call."""
    flow.metadata[_OWN_ANSWER] = True
    flow.response = response


def is_own_answer(flow: http.HTTPFlow) -> bool:
    """Whether `answer` set the response, which later hooks then leave alone."""
    return _OWN_ANSWER in flow.metadata
