"""A request's head as the guard judges it: plain values, whichever way they were read from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from computer_use_cache.models import Query


@dataclass(frozen=True, slots=True)
class Head:
    """`path` is without its `query`; `authority` is an absolute target's or HTTP/2's, "" for none; header names are
    lower-case. `peer` is the client's address, `reached_at` the proxy's own on this connection."""

    method: str
    path: str
    query: Query
    authority: str
    headers: Mapping[str, str]
    peer: str
    reached_at: str

    @property
    def is_preflight(self) -> bool:
        """Whether a web page asks what it may ask (CORS; Fetch standard, section 4.8)."""
        return self.method == "OPTIONS" and "access-control-request-method" in self.headers
