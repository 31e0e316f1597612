"""Prepares a request for the upstream: its target, its headers, and whose credential it carries."""

from __future__ import annotations

from mitmproxy import http

from computer_use_cache.cache import policy
from computer_use_cache.credentials import aws, caller
from computer_use_cache.errors import RequestError
from computer_use_cache.formats import FORMATS, query_names
from computer_use_cache.keys import upstream
from computer_use_cache.keys.key import without_credential
from computer_use_cache.proxy.flows import format_of, is_addressed_to_proxy, lower_headers, path_and_query
from computer_use_cache.proxy.responses import mask_key
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings

CONTROLS = "cache_controls"
"""The metadata of a flow that keeps the control headers which decide the key and the TTL of its answer."""

_CONTROL_HEADERS = frozenset(name.encode() for name in policy.CONTROL_HEADERS)

_LASTING_CONTROLS = ("x-cache-namespace", "x-cache-sample", "x-cache-ttl")

_HOP_BY_HOP = frozenset((b"connection", b"upgrade", b"keep-alive", b"proxy-connection", b"http2-settings", b"te"))

_CREDENTIALS = frozenset(name.encode() for name in (*caller.CARRIERS, aws.TOKEN_HEADER))

_CALLERS_OWN = frozenset(
    (
        *(b"cookie", b"proxy-authorization", b"x-cache-admin-token"),
        *(name.encode() for format in FORMATS for name in format.account_headers),
    )
)
"""Headers about the caller that no flow keeps once it has its answer."""


def point_at_upstream(flow: http.HTTPFlow, settings: Settings) -> None:
    """Point a request that was addressed to the proxy at the configured upstream."""
    path, query = path_and_query(flow)
    target = upstream.resolve(settings.upstream_base_url, path)
    flow.request.path = f"{target}?{query}" if query else target
    authority = settings.upstream_base_url.origin.partition("://")[2]
    if flow.request.is_http2 or flow.request.is_http3:
        flow.request.authority = authority
    else:
        flow.request.authority = ""
        flow.request.headers["host"] = authority


def was_sent_upstream(flow: http.HTTPFlow, settings: Settings) -> bool:
    """Whether a replayed flow already points at the configured upstream.

    Raises RequestError if it points elsewhere, as one loaded from a file may: the operator's key is for this upstream
    only.
    """
    request, origin = flow.request, settings.upstream_base_url.origin
    host = f"[{request.host}]" if ":" in request.host else request.host
    if BaseUrl.parse(f"{request.scheme}://{host}:{request.port}").origin != origin:
        raise RequestError(403, f"This flow was sent to an upstream other than {origin}.")
    return request.host_header == origin.partition("://")[2]


def _take_out(headers: http.Headers, names: frozenset[bytes]) -> dict[str, str]:
    """Remove the headers with these lower-case names and return them as `lower_headers` does, in one pass; mitmproxy
    would make one pass for each name."""
    taken = [item for item in headers.fields if item[0].lower() in names]
    if taken:
        headers.fields = tuple(item for item in headers.fields if item[0].lower() not in names)
    return lower_headers(http.Headers(taken))


def keep_end_to_end(headers: http.Headers) -> None:
    """Remove the headers that are for this hop only (RFC 9110, section 7.6.1), except a websocket's handshake.

    Otherwise a header named in Connection would be dropped on the way although it may be part of the key, and after any
    other upgrade (h2c) the proxy could not read the connection.
    """
    taken = _take_out(headers, _HOP_BY_HOP)
    tokens = {token.strip() for token in taken.get("connection", "").lower().split(",")}
    upgrade = taken.get("upgrade", "").lower()
    if upgrade == "websocket":
        headers["upgrade"], headers["connection"] = upgrade, "Upgrade"
    elif "close" in tokens:
        headers["connection"] = "close"


def prepare_to_forward(flow: http.HTTPFlow, settings: Settings) -> None:
    """Remove the cache's own headers and add the operator's. The path is the upstream's already.

    The signed headers of an intercepted request stay, because the upstream would refuse it without them.
    """
    headers = flow.request.headers
    before = lower_headers(headers)
    if controls := {name: before[name] for name in _LASTING_CONTROLS if name in before}:
        flow.metadata[CONTROLS] = controls
    _take_out(headers, _CONTROL_HEADERS - _signed(flow))
    if not is_addressed_to_proxy(flow):
        return
    if settings.client_token:
        _remove_credentials(flow)
    if settings.upstream_api_key:
        _replace_credential(flow, settings)
    if settings.openrouter_http_referer:
        headers["HTTP-Referer"] = settings.openrouter_http_referer
    if settings.openrouter_x_title:
        headers["X-Title"] = settings.openrouter_x_title


def ask_for_plain_bytes(flow: http.HTTPFlow) -> None:
    """Have the upstream answer without a content encoding, as far as the signature of the request allows it."""
    if b"accept-encoding" not in _signed(flow):
        flow.request.headers["accept-encoding"] = "identity"


def _signed(flow: http.HTTPFlow) -> frozenset[bytes]:
    """The headers of an intercepted request that AWS's signature covers, except our own credential."""
    signature = None if is_addressed_to_proxy(flow) else aws.signature(lower_headers(flow.request.headers))
    names = signature.signed_headers if signature else frozenset[str]()
    return frozenset(name.encode() for name in names - {"x-cache-admin-token"})


def _remove_credentials(flow: http.HTTPFlow) -> list[str]:
    taken = _take_out(flow.request.headers, _CREDENTIALS)
    for name in filter(query_names.is_callers, _query_names(flow)):
        flow.request.query.pop(name, None)
    return [name for name in caller.CARRIERS if name in taken]


def _query_names(flow: http.HTTPFlow) -> list[str]:
    return list(flow.request.query) if "?" in flow.request.path else []


def _replace_credential(flow: http.HTTPFlow, settings: Settings) -> None:
    format = format_of(flow, settings)
    key = settings.upstream_api_key
    for name in _remove_credentials(flow) or [format.credential_header if format else "authorization"]:
        flow.request.headers[name] = f"Bearer {key}" if name == "authorization" else key


def forget_credentials(flow: http.HTTPFlow, settings: Settings) -> None:
    """Remove every credential from a flow that has its answer: nothing that is shown, logged or saved may hold one."""
    _forget_callers(flow)
    if flow._backup:  # mitmproxy's copy from before a user's change in its interface
        before = http.HTTPFlow.from_state(flow._backup)
        assert isinstance(before, http.HTTPFlow)
        _forget_callers(before)
        flow._backup = before.get_state()
    if flow.response:
        mask_key(flow, flow.response, settings)


def _forget_callers(flow: http.HTTPFlow) -> None:
    _remove_credentials(flow)
    _take_out(flow.request.headers, _CALLERS_OWN)
    for name in filter(query_names.is_credential, _query_names(flow)):
        values = flow.request.query.get_all(name)
        flow.request.query.set_all(name, [without_credential(name, value) for value in values])
