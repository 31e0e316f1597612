"""Admits requests: which flows are the cache's business, who may use it, and what a web page may see of it."""

from __future__ import annotations

from mitmproxy import http

from computer_use_cache.cache.lookup import offline_error
from computer_use_cache.errors import RequestError
from computer_use_cache.models import Reason
from computer_use_cache.proxy import flows, forwarding, guard, local_routes
from computer_use_cache.proxy.helper_routes import HelperRoutes
from computer_use_cache.proxy.http import websocket
from computer_use_cache.proxy.http.stream import pass_body_through
from computer_use_cache.proxy.request_head import Head
from computer_use_cache.proxy.signing import signature_to_replace
from computer_use_cache.setting_values import Mode, is_loopback
from computer_use_cache.settings import Settings

_ALWAYS_EXPOSED = frozenset(
    ("cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma")
)
"""Headers that a page may read anyway (Fetch standard, section 2.2.2)."""


class Gate:
    """Stands before everything else in the hooks. With `loopback`, only this machine may ask the proxy itself."""

    def __init__(self, settings: Settings, *, loopback: bool) -> None:
        self._settings = settings
        self._loopback = loopback

    def is_cached_host(self, host: str) -> bool:
        """Whether the answers of this host are cached when it is intercepted."""
        return host in self._settings.hosts

    def concerns(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow is addressed to the proxy, or to an intercepted host whose answers are cached.

        One that was loaded from a file is neither. The Host header alone proves nothing: it must name where the
        connection goes, or what its certificate names. A web page's call to an intercepted host passes by: an answer
        that is replayed has none of the headers that let a page read it.
        """
        if not flow.live:
            return False
        if flows.is_addressed_to_proxy(flow):
            return True
        if not self.knows_host(flow.request.pretty_host, flow.client_conn.sni or flow.request.host):
            return False
        headers = flows.lower_headers(flow.request.headers)
        origin = headers.get("origin")
        return (
            origin is None
            or self._settings.mode is Mode.OFFLINE
            or guard.is_allowed_origin(origin, self._settings)
            or guard.is_own_websocket(headers)
            or guard.is_extension(headers)
        )

    def knows_host(self, host: str, proven: str) -> bool:
        """Whether answers of an intercepted host are cached; `proven` is where the connection goes, or what its
        certificate names."""
        return host.lower() == proven.lower() and self.is_cached_host(host)

    def admit(self, flow: http.HTTPFlow, helpers: HelperRoutes) -> bool:
        """Check a request as soon as its headers have arrived, and point it at its upstream. False if it bypasses the
        cache. Raises RequestError."""
        is_addressed_here = flows.is_addressed_to_proxy(flow)
        if flow.is_replay == "request" and (
            not is_addressed_here or forwarding.was_sent_upstream(flow, self._settings)
        ):
            return True  # replayed from mitmproxy's own interface
        if is_addressed_here:
            head = flows.head_of(flow)
            client = self.check(head)
            if client is not None:
                flows.remember_client(flow, client)
            if head.is_preflight:
                flows.answer(flow, http.Response.make(204))
            if flow.response or local_routes.is_local(head.path):
                return True
        forwarding.keep_end_to_end(flow.request.headers)
        if is_addressed_here:
            forwarding.point_at_upstream(flow, self._settings)
        if flows.asks_for_websocket(flow, self._settings):
            flows.answer(flow, websocket.handshake_response(flow.request))
            return True
        if flows.format_of(flow, self._settings):
            return True
        is_helper = flows.is_helper(flow)
        if is_helper and not helpers.begin(flow):
            return True
        if self._settings.mode is Mode.OFFLINE:
            raise offline_error(f"CACHE_MODE={Mode.OFFLINE}", f"this request is never cached ({Reason.ROUTE})")
        forwarding.prepare_to_forward(flow, self._settings)
        # Uploads and the like are streamed through.
        if not is_helper and signature_to_replace(flow, self._settings) is None:
            pass_body_through(flow)
        return False

    def check(self, head: Head) -> str | None:
        """Whether a request that is addressed to the proxy may be made; the name of the client whose token it bears,
        None where no token is set or needed. Raises RequestError."""
        if self._loopback and not is_loopback(head.peer):
            raise RequestError(403, "This cache only serves its own machine; see HOST and CACHE_CLIENT_TOKEN.")
        if head.is_preflight:  # pages carry no token in it
            guard.check_origin("OPTIONS", "", head.headers, self._settings)
            return None
        client = self._client(head) if self._settings.client_token else None
        guard.check_method(head.method)
        host = head.headers.get("host", head.authority)
        guard.check_host((host, head.authority or host), head.reached_at, self._settings)
        guard.check_origin(head.method, head.path, head.headers, self._settings)
        return client

    def _client(self, head: Head) -> str | None:
        try:
            return guard.check_client(head.headers, head.query, self._settings)
        except RequestError:
            if head.path != "/healthz":
                raise
            return None

    def allow_page(self, flow: http.HTTPFlow, response: http.Response) -> None:
        """Let a page of an allowed origin read the answer."""
        origin = flow.request.headers.get("origin")
        if origin is None or not guard.is_allowed_origin(origin, self._settings):
            return
        response.headers["access-control-allow-origin"] = origin
        names = dict.fromkeys(name for name in response.headers if name.lower() not in _ALWAYS_EXPOSED)
        response.headers["access-control-expose-headers"] = ", ".join(names)
        response.headers["vary"] = "Origin"
        if flow.request.method == "OPTIONS":
            response.headers["access-control-allow-methods"] = "GET, POST, DELETE, OPTIONS"
            asked = flow.request.headers.get("access-control-request-headers", "")
            response.headers["access-control-allow-headers"] = asked or "Authorization, Content-Type"
