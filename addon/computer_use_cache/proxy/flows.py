"""Between mitmproxy's flows and the core's values: translation only, no decisions."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode

from computer_use_cache import formats
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
    """Whether the client asked this proxy itself (reverse mode), and not a host that is being intercepted."""
    return isinstance(flow.client_conn.proxy_mode, ReverseMode)


def path_and_query(flow: http.HTTPFlow) -> tuple[str, str]:
    """The path without its query, and the query as sent."""
    path, _, query = flow.request.path.partition("?")
    return path, query


def head_of(flow: http.HTTPFlow) -> Head:
    """The request's head, as it came."""
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
    """Note the name that the caller's token stands for."""
    flow.metadata[_CLIENT] = name


def is_known_client(flow: http.HTTPFlow) -> bool:
    """Whether the caller's token was right."""
    return _CLIENT in flow.metadata


def format_of(flow: http.HTTPFlow, settings: Settings) -> Format | None:
    """The API that a request belongs to, once it points at its upstream; None when its answers are not cached."""
    found = formats.match(_split(flow, settings)[1]) if flow.request.method == "POST" else None
    return found[0] if found else None


def could_use_http(flow: http.HTTPFlow, settings: Settings) -> bool:
    """Whether this is Codex, asking for a websocket to an API that is cached: it takes a refusal as word to use HTTP.

    No other client is known to, so theirs pass.
    """
    headers = flow.request.headers
    if headers.get("upgrade") != "websocket" or not headers.get("user-agent", "").lower().startswith("codex"):
        return False
    return formats.match(_split(flow, settings)[1]) is not None


def request_of(flow: http.HTTPFlow, settings: Settings) -> Request:
    """The request as the core sees it; the flow already points at its upstream."""
    base, below = _split(flow, settings)
    _, query = path_and_query(flow)
    headers = lower_headers(flow.request.headers)
    client = flow.metadata.get(_CLIENT, "")
    return Request(base, below, upstream.query_of(query), headers, body_of(flow.request), client)


def _split(flow: http.HTTPFlow, settings: Settings) -> tuple[str, str]:
    path, _ = path_and_query(flow)
    origin = settings.upstream_base_url.origin
    if not is_addressed_to_proxy(flow):
        host = flow.request.pretty_host
        host = f"[{host}]" if ":" in host else host
        origin = BaseUrl.parse(f"{flow.request.scheme}://{host}:{flow.request.port}").origin
    return upstream.split(origin, path, settings.upstream_base_url)


def lower_headers(headers: http.Headers) -> dict[str, str]:
    """Headers by lower-case name; repeated ones are joined with a comma (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers.fields:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "surrogateescape")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def answer(flow: http.HTTPFlow, response: http.Response) -> None:
    """Answer a flow here, with something that no upstream said."""
    flow.metadata[_OWN_ANSWER] = True
    flow.response = response


def is_own_answer(flow: http.HTTPFlow) -> bool:
    """Whether `answer` was used, so that the hooks that follow leave the response alone."""
    return _OWN_ANSWER in flow.metadata
