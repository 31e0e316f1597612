"""Records the answers of helper routes and finds them again, under the rules for callers that hold for model calls.

An entry holds no request, and never an answer that contains a credential.
"""

from __future__ import annotations

import msgspec

from computer_use_cache.cache import policy
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.policy import Controls
from computer_use_cache.credentials import caller, places
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import KEPT_HEADERS, helper_routes
from computer_use_cache.formats.base import load_object
from computer_use_cache.keys import canonical_json, key
from computer_use_cache.models import Entry, Request, Response, Shape

_CONTENT_TYPES = ("application/json", "text/plain")


def controls_of(cache: Cache, request: Request) -> Controls:
    """What the request is allowed to do. Raises RequestError."""
    return policy.read_controls(request.headers, cache.settings)


def key_of(cache: Cache, method: str, request: Request, controls: Controls) -> str:
    """The key of a request to a helper route. Raises FormatError if its body is not a JSON object."""
    beginning = key.begin(
        scope=cache.keying.scope(request),
        namespace=controls.namespace,
        sample=1,
        upstream=request.upstream,
        format_name=helper_routes.NAME,
        resource=f"{method} {request.path}",
        query=key.relevant_query(request.query),
        headers=request.headers,
    )
    return key.finish(beginning, canonical_json.parse_body(request.body) if request.body else {})


def find(cache: Cache, method: str, request: Request, controls: Controls, now: float) -> Entry | None:
    """The recorded answer, if it is fresh. Blocks; raises StoreError, and FormatError as `key_of` does."""
    entry = cache.store.get(key_of(cache, method, request, controls))
    return entry if entry and entry.format == helper_routes.NAME and entry.is_fresh(now) else None


def may_be_kept(status: int, content_type: str) -> bool:
    """Whether an answer with this status and content type may be recorded. Only an empty one has no type."""
    kind = _kind(content_type)
    return status == 200 and (not kind or kind in _CONTENT_TYPES)


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def record(cache: Cache, method: str, request: Request, response: Response, now: float) -> Entry | None:
    """Store a complete answer that arrived at `now`, unless it must not be. Blocks; raises StoreError."""
    controls = controls_of(cache, request)
    if controls.bypass or controls.write_ban or not cache.settings.enabled:
        return None
    if len(response.body) > cache.settings.max_response_chars or not _is_good(response):
        return None
    if _holds_credential(cache, request, response.body):
        return None
    try:
        found = key_of(cache, method, request, controls)
    except FormatError:
        return None
    ttl = cache.settings.ttl_seconds if controls.ttl is None else controls.ttl
    entry = Entry(
        key=found,
        format=helper_routes.NAME,
        shape=Shape.JSON,
        model="",
        namespace=controls.namespace,
        headers=tuple((name, value) for name, value in sorted(response.headers.items()) if name in KEPT_HEADERS),
        body=response.body,
        created_at=now,
        expires_at=now + ttl if ttl else None,
        seconds=response.seconds,
    )
    cache.keep(entry, now)
    return entry


def _is_good(response: Response) -> bool:
    """Whether an answer may be recorded, is whole and is not an error."""
    content_type = response.headers.get("content-type", "")
    if not may_be_kept(response.status, content_type):
        return False
    kind = _kind(content_type)
    if not response.body or kind != "application/json":
        return response.ended and (bool(kind) or not response.body)
    try:
        answer = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return not (isinstance(answer, dict) and answer.get("error"))


def _holds_credential(cache: Cache, request: Request, answer: bytes) -> bool:
    own = (caller.of_caller(request.headers, request.query), cache.settings.upstream_api_key)
    if cache.kind_of_credential([answer.decode("utf-8", "replace")], [credential for credential in own if credential]):
        return True
    try:
        return places.names_credential(load_object(answer))
    except FormatError:
        return False
