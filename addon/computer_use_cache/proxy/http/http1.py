"""What both ends' HTTP/1 connections have in common."""

from __future__ import annotations

from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import Http1Connection


class CacheHttp1Connection(Http1Connection):
    """mitmproxy's, except that a connection that carries no further exchange lets go of the last one.

    It stays in memory until the garbage collector looks at it, and would hold a request with megabytes of screenshots.
    """

    def mark_done(self, *, request: bool = False, response: bool = False) -> CommandGenerator[None]:
        yield from super().mark_done(request=request, response=response)
        if self.state == self.done:
            self.forget_exchange()

    def forget_exchange(self) -> None:
        """Let go of the last exchange, also if it was broken off."""
        self.request = self.response = None
