"""Notices model calls that the cache does not see, so that users learn of them.

A call is noticed by its path or, as it passes, by its body. Only the host is known of a connection that is not
decrypted.
"""

from __future__ import annotations

import logging
import re

from mitmproxy import http

from computer_use_cache import formats
from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.formats.recognition import Scan
from computer_use_cache.proxy import flows
from computer_use_cache.settings import Settings

logger = logging.getLogger(__name__)

_MOST_LOGGED = 1000
_IDENTIFIER = re.compile(
    r"(?<=/accounts/)[^/]+|(?<=/organizations/)[^/]+|(?<=/projects/)[^/]+"
    r"|(?<=/)(?:[^/]{33,}|[0-9a-fA-F-]{12,})(?=/|$)"
)
"""A segment of a path that names an account, or that is no word and so may be an account or a secret."""


class Unseen:
    """Counts and logs the model calls that are not cached, each with the setting that would cache it."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._logged: set[tuple[str, str]] = set()

    def tunnelled(self, host: str) -> None:
        """A connection to this host passes without being decrypted."""
        self._note(host, "", f"CACHE_HOSTS=+{host}")

    def watch(self, flow: http.HTTPFlow) -> None:
        """Look at a request that passes by: at its path now, at its body as it passes."""
        request = flow.request
        if request.method != "POST" or not request.stream:
            return
        if self._is_foreign(flow) and flows.is_cached_path(flow, self._settings):
            self._note_call(flow)
        elif "json" in request.headers.get("content-type", "json").lower():
            scan = Scan()

            def passed(chunk: bytes) -> bytes:
                was_noted = scan.is_model_call
                scan.feed(chunk)
                if scan.is_model_call and not was_noted:
                    self._note_call(flow)
                return chunk

            request.stream = passed

    def _note_call(self, flow: http.HTTPFlow) -> None:
        host = flow.request.pretty_host.lower()
        path = _IDENTIFIER.sub("*", flows.path_and_query(flow)[0])
        setting = f"CACHE_HOSTS=+{host}" if self._is_foreign(flow) else self._base_url(flow, path)
        self._note(host, f"POST {path}", setting)

    def _is_foreign(self, flow: http.HTTPFlow) -> bool:
        return not flows.is_addressed_to_proxy(flow) and flow.request.pretty_host not in self._settings.hosts

    def _base_url(self, flow: http.HTTPFlow, path: str) -> str:
        """The base URL below which the path is that of a cached API."""
        routes = (route for format in formats.FORMATS for route in format.routes if path.endswith(route))
        route = next(routes, None)
        origin = flows.origin_of(flow, self._settings)
        return f"UPSTREAM_BASE_URL={origin}{path.removesuffix(route)}" if route else ""

    def _note(self, host: str, route: str, setting: str) -> None:
        self._ledger.unseen(host, route, setting)
        if (host, route) in self._logged or len(self._logged) >= _MOST_LOGGED:
            return
        self._logged.add((host, route))
        what = f"{route} at {host}: this model call is not cached" if route else f"{host}: not decrypted, so not cached"
        logger.info("%s%s", what, f"; {setting} would change that" if setting else "")
