"""Between mitmproxy's flows and the core's values: translation only, no decisions."""

from __future__ import annotations

import logging

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode

from computer_use_cache import credentials, formats
from computer_use_cache.cache import policy
from computer_use_cache.cache.cache import OFFLINE_MISS
from computer_use_cache.errors import RequestError
from computer_use_cache.formats.base import Format, Json, dump
from computer_use_cache.keys import upstream
from computer_use_cache.models import Bypass, Outcome, Request
from computer_use_cache.proxy import cache_headers
from computer_use_cache.proxy.content_coding import body_of
from computer_use_cache.proxy.request_head import Head
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings

logger = logging.getLogger(__name__)

_CLIENT = "cache_client"
_OWN_ANSWER = "cache_own_answer"
"""In a flow's metadata, which holds plain data only: saved flows must load without this addon."""

CONTROLS = "cache_controls"
"""In a flow's metadata: the controls, by header, that say which entry an answer is kept as, and for how long."""

_LARGE = 1024 * 1024
_CONTROL_HEADERS = frozenset(name.encode() for name in policy.CONTROL_HEADERS)
_LASTING_CONTROLS = ("x-cache-namespace", "x-cache-sample", "x-cache-ttl")
_HOP_BY_HOP = frozenset((b"connection", b"upgrade", b"keep-alive", b"proxy-connection", b"http2-settings", b"te"))
_CREDENTIALS = frozenset(name.encode() for name in credentials.CARRIERS)
_CALLERS_OWN = frozenset(
    (b"cookie", b"openai-organization", b"openai-project", b"proxy-authorization", b"x-cache-admin-token")
)


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


def send_to_upstream(flow: http.HTTPFlow, settings: Settings) -> None:
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
    """Whether a flow that is asked again already points at the configured upstream.

    Raises RequestError for one that goes elsewhere, from a file: the operator's key is for this upstream only.
    """
    request, origin = flow.request, settings.upstream_base_url.origin
    host = f"[{request.host}]" if ":" in request.host else request.host
    if BaseUrl.parse(f"{request.scheme}://{host}:{request.port}").origin != origin:
        raise RequestError(403, f"This flow was sent to another upstream than {origin}.")
    return request.host_header == origin.partition("://")[2]


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


def _take_out(headers: http.Headers, names: frozenset[bytes]) -> dict[str, str]:
    """Remove the headers of these lower-case names, and give them as `lower_headers` does; in one go, as mitmproxy goes
    through all of them for each name."""
    taken = [item for item in headers.fields if item[0].lower() in names]
    if taken:
        headers.fields = tuple(item for item in headers.fields if item[0].lower() not in names)
    return lower_headers(http.Headers(taken))


def keep_end_to_end(headers: http.Headers) -> None:
    """Take out what is meant for this hop only (RFC 9110, section 7.6.1), but for a websocket's handshake.

    A header that Connection names would be dropped on the way: what the key counts must reach the provider. And
    after another upgrade (h2c) nothing that is sent would pass here.
    """
    taken = _take_out(headers, _HOP_BY_HOP)
    tokens = {token.strip() for token in taken.get("connection", "").lower().split(",")}
    upgrade = taken.get("upgrade", "").lower()
    if upgrade == "websocket":
        headers["upgrade"], headers["connection"] = upgrade, "Upgrade"
    elif "close" in tokens:
        headers["connection"] = "close"


def prepare_to_forward(flow: http.HTTPFlow, settings: Settings) -> None:
    """Take out what is the cache's own, and put the operator's headers in. The path already is the upstream's."""
    headers = flow.request.headers
    taken = _take_out(headers, _CONTROL_HEADERS)
    if controls := {name: taken[name] for name in _LASTING_CONTROLS if name in taken}:
        flow.metadata[CONTROLS] = controls
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


def _remove_credentials(flow: http.HTTPFlow) -> list[str]:
    taken = _take_out(flow.request.headers, _CREDENTIALS)
    if "?" in flow.request.path and "key" in flow.request.query:
        del flow.request.query["key"]
    return [name for name in credentials.CARRIERS if name in taken]


def _replace_credential(flow: http.HTTPFlow, settings: Settings) -> None:
    format = format_of(flow, settings)
    key = settings.upstream_api_key
    for name in _remove_credentials(flow) or [format.credential_header if format else "authorization"]:
        flow.request.headers[name] = f"Bearer {key}" if name == "authorization" else key


def forget_credentials(flow: http.HTTPFlow, settings: Settings) -> None:
    """Take every credential out of a flow that has its answer: what is shown, logged and saved holds none."""
    _forget_callers(flow)
    if flow._backup:  # what mitmproxy keeps from before a user's change in its interface
        before = http.HTTPFlow.from_state(flow._backup)
        assert isinstance(before, http.HTTPFlow)
        _forget_callers(before)
        flow._backup = before.get_state()
    if flow.response and (body := flow.response.raw_content):
        flow.response.raw_content = without_key(body, settings)


_SHORTEST_KEY = 16
"""No provider's key has fewer characters: `ollama` or `EMPTY`, where no key is needed, are words of answers, too."""


def without_key(body: bytes, settings: Settings) -> bytes:
    """An upstream may quote the operator's key in an error; not even the client may see that."""
    key = settings.upstream_api_key.encode()
    return body.replace(key, b"*" * len(key)) if len(key) >= _SHORTEST_KEY else body


def _forget_callers(flow: http.HTTPFlow) -> None:
    _remove_credentials(flow)
    _take_out(flow.request.headers, _CALLERS_OWN)


def answer(flow: http.HTTPFlow, response: http.Response) -> None:
    """Answer a flow here, with something that no upstream said."""
    flow.metadata[_OWN_ANSWER] = True
    flow.response = response


def is_own_answer(flow: http.HTTPFlow) -> bool:
    """Whether `answer` was used, so that the hooks that follow leave the response alone."""
    return _OWN_ANSWER in flow.metadata


def refuse(flow: http.HTTPFlow, error: RequestError, settings: Settings) -> None:
    """Answer with an error in the form of the API that was asked, OpenAI's where it is none."""
    path, _ = path_and_query(flow)
    below = upstream.split("", upstream.resolve(settings.upstream_base_url, path), settings.upstream_base_url)[1]
    found = formats.match(below)
    format = found[0] if found else formats.by_name("chat_completions")
    response = json_response(error.status, format.error(error))
    if error.code == OFFLINE_MISS:
        logger.info("offline miss: %s %s: %s", flow.request.method, path, error.message)
        response.headers["x-should-retry"] = "false"  # the SDKs would wait and ask again
    answer(flow, response)


def upstream_error(flow: http.HTTPFlow, status: int, why: str) -> RequestError:
    """What a client is told when its upstream failed: 502, or 504 when it took too long."""
    what = "did not answer in time" if status == 504 else "could not be reached or broke off"
    message = f"The upstream {flow.request.pretty_host} {what}: {why}. Check UPSTREAM_BASE_URL and the network."
    return RequestError(status, message, code="upstream_timeout" if status == 504 else "upstream_request_failed")


def pass_through(flow: http.HTTPFlow, response: http.Response, bypass: Bypass, settings: Settings) -> None:
    """Let an answer pass that is no cached API's: events and what is large or of unknown length as they come."""
    told = cache_headers.Told(Outcome.BYPASS, f"fwd=bypass; fwd-status={response.status_code}", reason=str(bypass))
    cache_headers.tell(flow, response, told, settings)
    length = response.headers.get("content-length", "")
    if not response.stream and not (length.isdigit() and int(length) <= _LARGE):
        response.stream = True
        if response.status_code >= 200 and response.status_code not in (204, 304):
            delimit(flow.request, response)


def json_response(status: int, payload: Json) -> http.Response:
    """A JSON response of this proxy."""
    return http.Response.make(status, dump(payload), {"content-type": "application/json; charset=utf-8"})


def delimit(request: http.Request, response: http.Response) -> None:
    """Let an HTTP/1.1 client see where a stream of unknown length ends, so that a cut one never looks complete."""
    if request.is_http11 and "content-length" not in response.headers:
        response.headers["transfer-encoding"] = "chunked"
