"""The key of a request: SHA-256 over a length-delimited sequence, so that no two sequences can run together.

Two equivalent requests share a key and two different ones never do. Canonical JSON sorts object keys and keeps
array order; numbers equal in value are one, whatever their spelling or size; strings are compared by code point.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from computer_use_cache.keys.canonical_json import canonical

SCHEMA = "1"
"""Enters every key: raise it when the meaning of a key changes, and old entries are simply not found."""

RELEVANT_HEADERS = ("anthropic-version", "anthropic-beta", "openai-beta")
"""Request headers that change the answer."""


def relevant_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers that belong to the key (lower-case names); white space between the items of a list is none of it."""
    found = ((name, headers[name].split(",")) for name in RELEVANT_HEADERS if name in headers)
    return tuple((name, ",".join(item.strip() for item in items)) for name, items in found)


def begin(
    *,
    scope: str,
    namespace: str,
    sample: int,
    upstream: str,
    format_name: str,
    resource: str,
    query: str,
    headers: Mapping[str, str],
) -> Any:
    """The beginning of a key, all but the body, for `finish`; it may serve for any number of bodies.

    `scope` is "" for shared entries, `upstream` the API's base URL, `resource` and `query` what of path and query
    belongs to the key, `headers` the request's (lower-case names).
    """
    digest = hashlib.sha256()
    relevant = [f"{name}:{value}" for name, value in relevant_headers(headers)]
    texts = (
        SCHEMA,
        scope,
        namespace,
        str(sample),
        upstream,
        format_name,
        resource,
        query,
        str(len(relevant)),
        *relevant,
    )
    for text in texts:
        _add(digest, text.encode("utf-8", "surrogatepass"))
    return digest


def finish(beginning: Any, body: object, credentials: str = "") -> str:
    """The key in hex. `body` is what `Format.key_body` left of the request's, `credentials` a digest of those that the
    body held, if they count. Raises FormatError like `canonical`."""
    digest = beginning.copy()
    _add(digest, canonical(body))
    if credentials:
        _add(digest, credentials.encode())
    return str(digest.hexdigest())


def _add(digest: Any, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "big"))
    digest.update(part)


def remove_pointers(body: dict[str, Any], pointers: Iterable[str]) -> dict[str, Any]:
    """`body` without what the JSON pointers (RFC 6901, `*` for any member or index) name; `body` is left alone.

    A name without a slash at its start is a top-level field.
    """
    for pointer in pointers:
        path = pointer.split("/")[1:] if pointer.startswith("/") else [pointer]
        body = _without(body, [part.replace("~1", "/").replace("~0", "~") for part in path])
    return body


def _without(value: Any, path: list[str]) -> Any:
    head, *rest = path
    match value:
        case dict():
            chosen = {name for name in value if head in ("*", name)}
            kept = {name: item for name, item in value.items() if rest or name not in chosen}
            return {name: _without(item, rest) if rest and name in chosen else item for name, item in kept.items()}
        case list():
            chosen_items = {index for index in range(len(value)) if head in ("*", str(index))}
            return [
                _without(item, rest) if rest and index in chosen_items else item
                for index, item in enumerate(value)
                if rest or index not in chosen_items
            ]
    return value
