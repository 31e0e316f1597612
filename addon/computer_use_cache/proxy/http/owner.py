"""How mitmproxy's layers and the addon talk to each other about an exchange: hooks, metadata, and a protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from mitmproxy import http
from mitmproxy.proxy import commands

from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import RequestError
from computer_use_cache.models import Request

UPSTREAM_FAULT = "cache_upstream_fault"
"""In a flow's metadata when the upstream failed: the HTTP status that says how, 502 or 504."""

CLIENT_FAULT = "cache_client_fault"
"""In a flow's metadata when this proxy has refused what the client sent: why."""

FOREIGN = "cache_foreign"
"""In the metadata of a flow that the cache has nothing to do with: no time-out applies to it."""


@dataclass(slots=True)
class Feed:
    """The pieces of an answer that an addon streams to a client. `chunk` is the next one, None at the end; `cut` is set
    if the answer was broken off."""

    client_id: str
    pieces: AsyncIterator[bytes]
    chunk: bytes | None = None
    cut: bool = False


@dataclass
class CacheNextChunkHook(commands.StartHook):
    """Asks the addon to wait for the next chunk of a feed."""

    feed: Feed
    name = "cache_next_chunk"
    blocking = True


@dataclass
class CacheSlowAnswerHook(commands.StartHook):
    """Tells the addon that an answer is slow; it is passed on as it comes if the addon sets `flow.response.stream`."""

    flow: http.HTTPFlow
    name = "cache_slow_answer"
    blocking = True


class Owner(Protocol):
    """What the layer asks of the addon."""

    def feed_of(self, flow: http.HTTPFlow) -> Feed | None:
        """The feed with the body of a response that the addon set."""

    def is_held(self, flow: http.HTTPFlow) -> bool:
        """True if other clients still want the answer of a flow whose own client left. If False, the call is given up
        and nobody can join it any more."""

    def upstream_timeout(self) -> float:
        """How long to wait for the first byte of an answer, and between its bytes."""

    def refuse(self, flow: http.HTTPFlow, error: RequestError) -> None:
        """Set the flow's response to an error in the form of the API that was asked."""

    def expect(self, client_id: str, request: Request, plan: Plan) -> None:
        """Note the plan of the next request of this client connection."""
