"""The fast path: a complete, plain request is answered from the store without a flow.

Its methods return None for anything that they do not understand, would refuse or cannot find, and after a failure;
mitmproxy then handles the untouched bytes. Keys, policy, guard, freshness, headers and counts are those of the normal
path, because both call the same functions.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Concatenate, Literal

import msgspec
from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.cache.plan import Plan, Route
from computer_use_cache.errors import RequestError, StoreError
from computer_use_cache.exchange.decisions import Decision, Postpone, Serve
from computer_use_cache.exchange.failure_log import FailureLog
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.keys import upstream
from computer_use_cache.memory import BoundedMemory, Seen
from computer_use_cache.models import Absent, Entry, Query, Request
from computer_use_cache.proxy import local_routes
from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.guard import host_of
from computer_use_cache.proxy.replayer import Replayer
from computer_use_cache.proxy.request_head import Head
from computer_use_cache.store.base import Slow, weight

_HEAD = re.compile(
    rb"POST (/[!\"$-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n",
)
"""A target in origin form without a fragment, and header lines of plain ASCII: no folding, no control characters."""
_LENGTH = re.compile(rb"(\r\ncontent-length:[ \t]*)([1-9][0-9]{0,8})(?=[ \t]*\r\n)", re.IGNORECASE)
_ALTERING = frozenset(
    {
        "transfer-encoding",
        "content-encoding",
        "expect",
        "upgrade",
        "te",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
        "origin",
        "sec-fetch-site",
    }
)
"""Headers that change how a message is read, or who may read its answer."""
VOLATILE = (
    *("traceparent", "tracestate", "baggage", "sentry-trace", "b3", "uber-trace-id", "x-amzn-trace-id"),
    *("x-cloud-trace-context", "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-tags"),
    *("request-id", "x-request-id", "x-client-request-id", "x-correlation-id", "idempotency-key"),
    *("x-stainless-retry-count", "x-stainless-timeout", "x-stainless-read-timeout"),
)
"""Headers that differ from request to request, and decide nothing here: requests that differ in them only are one."""
_VOLATILE_LINES = re.compile(rb"\r\n(?:" + "|".join(VOLATILE).encode() + rb"):[^\r]*", re.IGNORECASE)

_MOST_HEADS = 256
_MOST_BYTES = 8 * 1024 * 1024
_LONGEST_REMEMBERED = 4 * 1024 * 1024
"""Looking for the body of a longer request would hold up the event loop for milliseconds. Its screenshots are known, so
that a thread finds its key in half the time."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How the requests of one connection arrive: who sends them, and to which address of the proxy.

    On an intercepted connection, `origin` is the origin of the host it was made to, and `proven` the host name that TLS
    or the address vouches for. On a connection to the proxy itself, `origin` is None.
    """

    peer: str
    reached_at: str
    origin: str | None
    proven: str
    text: bytes = field(init=False)
    """The same as bytes, to be hashed before a request's head."""

    def __post_init__(self) -> None:
        parts = (self.peer, self.reached_at, self.origin or "", self.proven)
        object.__setattr__(self, "text", "\n".join(parts).encode() + b"\n\n")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A head that the guard lets pass, with a body of any length. `digest` is a SHA-256 of everything in the head that
    may decide the answer."""

    route: Route
    digest: bytes

    def request(self, body: bytes) -> Request:
        """The request, with this body."""
        request = self.route.request
        return replace(request, headers={**request.headers, "content-length": str(len(body))}, body=body)


class Hit(msgspec.Struct):
    """A hit, found for a body of this `length` at the time at which its search `began`.

    `wire` is the whole response. Its Age and TTL are right `until` then (Unix seconds; 0 until the hit is served a
    second time). The `plan` of a remembered hit holds no bodies.
    """

    length: int
    plan: Plan
    serve: Serve
    wire: bytes
    began: float
    until: float = 0.0


def _safely[**Given, Found](
    method: Callable[Concatenate[FastPath, Given], Found],
) -> Callable[Concatenate[FastPath, Given], Found | None]:
    """Makes a method return None when it fails, and logs the first failure."""

    def safe(fast_path: FastPath, /, *given: Given.args, **named: Given.kwargs) -> Found | None:
        try:
            return method(fast_path, *given, **named)
        except Exception as error:
            fast_path.failures.failed(error)
            return None

    return safe


class FastPath:
    """One per proxy. Its memories are bounded, and a remembered hit is served only if the store still has the entry."""

    def __init__(self, shared: Shared, gate: Gate) -> None:
        self._shared = shared
        self._cache = shared.cache
        self._gate = gate
        self._replayer = Replayer(shared.cache.settings)
        self._heads = BoundedMemory[bytes, Admitted](_MOST_HEADS)
        self._hits = BoundedMemory[tuple[bytes, bytes], Hit](_MOST_BYTES, _weight)
        """By a head's digest and the body itself: finding and comparing that takes a tenth of the time of a digest."""
        self._lengths = Seen[int]()
        """The body lengths of remembered hits: a body of any other length need not be hashed."""
        self._seen = Seen[str]()
        self.failures = FailureLog("the fast path")

    # -- heads

    def admit(self, arrival: Arrival, head: bytes) -> tuple[Admitted, int] | None:
        """Judge a head, including its blank line. Returns it with the length of the body that follows."""
        found = _LENGTH.search(head)
        if found is None or (length := int(found[2])) > self._cache.settings.max_input_chars:
            return None
        # Without the length: the requests of one client often differ in nothing else.
        name = arrival.text + head[: found.start(2)] + head[found.end(2) :]
        admitted = self._heads.get(name)
        if admitted is None:
            admitted = self._admit(arrival, head, hashlib.sha256(_VOLATILE_LINES.sub(b"", name)).digest())
            if admitted is None:
                return None
            self._heads.put(name, admitted)
        return admitted, length

    @_safely
    def _admit(self, arrival: Arrival, head: bytes, digest: bytes) -> Admitted | None:
        found = _HEAD.fullmatch(head)
        headers = _headers(found[2].decode()) if found else None
        if found is None or headers is None:
            return None
        path, _, query_text = found[1].decode().partition("?")
        query = upstream.query_of(query_text)
        if arrival.origin is None:
            asked = Head("POST", path, query, "", headers, arrival.peer, arrival.reached_at)
            request = self._request_of_proxy(asked)
        else:
            request = self._request_of_host(arrival, path, query, headers)
        if request is None or formats.match(request.path) is None:
            return None
        try:
            route = self._cache.route(request)
        except RequestError:
            return None
        return None if route.controls.reject else Admitted(route, digest)

    def _request_of_proxy(self, head: Head) -> Request | None:
        try:
            client = self._gate.check(head)
        except RequestError:
            return None
        if local_routes.is_local(head.path):
            return None
        base = self._cache.settings.upstream_base_url
        origin, below = upstream.split(base.origin, upstream.resolve(base, head.path), base)
        headers = {**head.headers, "host": base.origin.partition("://")[2]}
        return Request(origin, below, head.query, headers, b"", client or "")

    def _request_of_host(self, arrival: Arrival, path: str, query: Query, headers: dict[str, str]) -> Request | None:
        if not self._gate.knows_host(host_of(headers["host"]), arrival.proven):
            return None
        assert arrival.origin
        origin, below = upstream.split(arrival.origin, path, self._cache.settings.upstream_base_url)
        return Request(origin, below, query, headers, b"")

    # -- answers

    def known(self, admitted: Admitted, body: bytes) -> bytes | None:
        """The answer to a request that was answered here before, if the store still holds the same entry. Counts it."""
        return self._known(admitted.route, (admitted.digest, body)) if len(body) in self._lengths else None

    @_safely
    def _known(self, route: Route, name: tuple[bytes, bytes]) -> bytes | None:
        known = self._hits.get(name)
        if known is None:
            return None
        now = time.time()
        try:
            entry = self._cache.lookup_quickly(known.plan, now)
        except StoreError:
            return None
        if entry is Slow.SLOW:
            return None
        if entry != known.serve.entry:
            self._hits.drop(name)
            return None
        if now >= known.until:
            known.wire = self._replayer.hit(known.plan, known.serve, now)
            known.until = _until(known.serve.entry, now)
        plan = known.plan if known.plan.route is route else replace(known.plan, route=route)  # another trace
        self._shared.conclude_hit(plan, known.serve, now)
        return known.wire

    @_safely
    def find(self, admitted: Admitted, body: bytes) -> Hit | Plan | None:
        """The hit, or the plan of a request that is not one. Blocks: call it in a thread."""
        now = time.time()
        try:
            plan = self._cache.plan_body(admitted.route, body)
        except RequestError:
            return None
        return self.hit(len(body), plan, self._shared.decider.exact(plan, now), now)

    def plan_quickly(self, admitted: Admitted, body: bytes) -> Plan | Literal[Postpone.POSTPONE] | None:
        """The plan of a request, made on the event loop: POSTPONE if that would take long, and `find` must be used."""
        if not self._cache.plans_quickly(len(body)):
            return Postpone.POSTPONE
        try:
            return self._cache.plan_body(admitted.route, body)
        except RequestError:
            return None

    def decide_quickly(self, plan: Plan, now: float) -> Decision | Absent | Literal[Postpone.POSTPONE]:
        """What to do with the request, decided on the event loop; POSTPONE as above."""
        return self._shared.decider.decide_at_once(plan, now)

    def hit(self, length: int, plan: Plan, decision: Decision | Absent | None, now: float) -> Hit | Plan:
        """The hit of a search that began at `now`, with a body of this length; the plan if there is no hit."""
        if not isinstance(decision, Serve) or self._replayer.paced(plan, decision.entry, decision.pieces):
            return plan
        return Hit(length, plan, decision, self._replayer.hit(plan, decision, now), now)

    @_safely
    def serve(self, hit: Hit, admitted: Admitted, body: bytes) -> bytes:
        """The response of a hit. Counts the hit and, if it is not the first for its key, remembers it.

        A request that continues an earlier answer is not remembered: it stops being a hit once that answer has been
        rebound for anyone.
        """
        continues = hit.plan.format.chain in hit.plan.body
        if hit.plan.key in self._seen and hit.length <= _LONGEST_REMEMBERED and not continues:
            hit.plan = hit.plan.without_bodies()
            self._hits.put((admitted.digest, body), hit)
            self._lengths.add(hit.length)
        else:
            self._seen.add(hit.plan.key)
        self._shared.conclude_hit(hit.plan, hit.serve, hit.began)
        self.failures.worked()
        return hit.wire


def _until(entry: Entry, now: float) -> float:
    """When (Unix seconds) the Age or the TTL as of `now` changes next."""
    changes = [entry.created_at + max(int(now - entry.created_at), 0) + 1]
    if entry.expires_at is not None:
        changes.append(entry.expires_at - int(entry.expires_at - now))
    return min(changes)


def _headers(lines: str) -> dict[str, str] | None:
    """The headers by lower-case name; None if mitmproxy must read them."""
    headers: dict[str, str] = {}
    for text in lines.split("\r\n")[:-1]:
        name, _, value = text.partition(":")
        name = name.lower()
        if name in headers or name in _ALTERING:
            return None
        headers[name] = value.strip()
    # HTTP/1.1 keeps a connection open unless this header says otherwise. It is for this hop only.
    return headers if "host" in headers and headers.pop("connection", "keep-alive").lower() == "keep-alive" else None


def _weight(hit: Hit) -> int:
    pieces = 0 if hit.serve.pieces == [hit.serve.entry.body] else len(hit.wire)  # about as long as the response
    return weight(hit.serve.entry) + hit.length + len(hit.wire) + pieces
