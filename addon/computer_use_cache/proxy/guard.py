"""Decides who may use this proxy, by the client's token, the Host header and the web page that makes the call.

A web page can reach a server on this machine through a domain of its own (DNS rebinding) or across origins. Both are
refused.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from computer_use_cache.credentials import caller
from computer_use_cache.errors import RequestError
from computer_use_cache.models import Query
from computer_use_cache.setting_values import is_loopback
from computer_use_cache.settings import Settings

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
"""A host and an optional port (RFC 9110, section 7.2). Users and percent-encoding are not allowed here."""


def check_client(headers: Mapping[str, str], query: Query, settings: Settings) -> str:
    """The name of the client whose token was sent, "" for a token without a name. Only call it if tokens are set.

    Raises RequestError (401) for a missing or unknown token. Takes the same time for wrong and right tokens.
    """
    sent = caller.of_caller(headers, query).encode("utf-8", "surrogateescape")
    names = [name for name, token in settings.client_token if hmac.compare_digest(sent, token.encode())]
    if not names:
        message = "Send the client token of this cache (CACHE_CLIENT_TOKEN) as your API key."
        raise RequestError(401, message, code="invalid_api_key")
    return names[0]


def check_admin(headers: Mapping[str, str], settings: Settings, *, loopback: bool) -> None:
    """Raise RequestError unless the caller may administer the cache: 401 for a bad token, 403 if nobody may."""
    if not settings.admin_token:
        if loopback:
            return
        raise RequestError(403, "Set CACHE_ADMIN_TOKEN to administer a cache that is not on a loopback address.")
    sent = headers.get("x-cache-admin-token") or caller.without_scheme(headers.get("authorization", ""))
    if not hmac.compare_digest(sent.strip().encode("utf-8", "surrogateescape"), settings.admin_token.encode()):
        raise RequestError(401, "Invalid cache admin token.", code="invalid_api_key")


def check_method(method: str) -> None:
    """Raise RequestError (405) for TRACE, whose response would show the operator's key to the client."""
    if method.upper() in ("TRACE", "TRACK"):
        raise RequestError(405, f"{method} is not allowed here.")


def check_host(authorities: tuple[str, ...], reached_at: str, settings: Settings) -> None:
    """Raise RequestError (403) unless every authority names this proxy: the Host header, and an absolute target's."""
    for authority in authorities:
        host = host_of(authority)
        if not (is_loopback(host) or host == reached_at or host in map(str.lower, settings.allowed_hosts)):
            raise RequestError(403, f"This cache does not answer to the host {host!r}; see CACHE_ALLOWED_HOSTS.")


def check_origin(method: str, path: str, headers: Mapping[str, str], settings: Settings) -> None:
    """Raise RequestError (403) for a web page that CORS_ALLOW_ORIGIN does not list."""
    origin = headers.get("origin")
    if origin is None and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # Images, scripts and links send no Origin, but browsers send Sec-Fetch-Site (Fetch Metadata).
        origin = "another site"
    harmless = (path == "/healthz" and method in ("GET", "HEAD")) or is_own_websocket(headers)
    if origin is not None and not harmless and not is_allowed_origin(origin, settings):
        raise RequestError(403, f"Web pages of {origin!r} may not use this cache; see CORS_ALLOW_ORIGIN.")


def is_own_websocket(headers: Mapping[str, str]) -> bool:
    """Whether a websocket's handshake names the server that it goes to as its origin. Clients that are not browsers do
    so; the server itself has no pages."""
    origin, host = headers.get("origin", "").partition("://")[2], headers.get("host", "")
    is_own = bool(origin) and origin.lower() == host.lower()
    return is_own and headers.get("upgrade", "").lower() == "websocket"


def is_extension(headers: Mapping[str, str]) -> bool:
    """Whether a browser's extension makes the call by itself, and not for a web page. It may read the answer, whatever
    the answer's CORS headers say."""
    scheme = headers.get("origin", "").lower().partition("://")[0]
    return scheme.endswith("-extension") and headers.get("sec-fetch-site") == "none"


def is_allowed_origin(origin: str, settings: Settings) -> bool:
    """Whether a page of this origin may use the proxy. `*` does not include `null`."""
    return origin in settings.cors_allow_origin or ("*" in settings.cors_allow_origin and origin != "null")


def host_of(authority: str) -> str:
    """The lower-case host of `host`, `host:port` or `[v6]:port`; "" for anything else."""
    found = _AUTHORITY.fullmatch(authority)
    return (found[1] or found[2]).lower() if found else ""
