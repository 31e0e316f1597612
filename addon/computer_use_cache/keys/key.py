"""The key of a request: SHA-256 over a length-delimited sequence, so no two sequences can collide by concatenation.

Equivalent requests share a key and different requests never do. The body enters as canonical JSON: object keys are
sorted, arrays keep their order, numbers compare by value and strings by code point.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from computer_use_cache.formats import FORMATS, query_names
from computer_use_cache.keys.canonical_json import canonical
from computer_use_cache.models import Query

SCHEMA = "1"
"""Part of every key. Raise it when the meaning of a key changes: entries with older keys are then never found."""

RELEVANT_HEADERS = (
    *dict.fromkeys(name for format in FORMATS for name in format.key_headers),
    *("azureml-model-deployment", "extra-parameters", "helicone-target-url"),
    *("x-portkey-provider", "x-portkey-config", "x-portkey-virtual-key", "x-portkey-custom-host"),
)
"""Request headers that change the answer, in the order in which they enter a key: those of the APIs, then those with
which Azure and gateways are told the model or provider."""

_DIGESTED = ("x-portkey-config", "x-portkey-virtual-key")
"""Headers that may hold credentials. Stored requests keep the relevant headers, so a digest replaces these values."""
_URLS = ("helicone-target-url", "x-portkey-custom-host")
"""Headers with a URL, which holds a credential only if it has a login or a query."""
_DIGEST = "sha256:"


def relevant_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers that enter the key, with lower-case names and without white space around list items."""
    return tuple((name, _relevant(name, headers[name])) for name in RELEVANT_HEADERS if name in headers)


def _relevant(name: str, value: str) -> str:
    if name in _DIGESTED or (name in _URLS and ("@" in value or "?" in value)):
        return _digested(value)
    return ",".join(item.strip() for item in value.split(","))


def _digested(value: str) -> str:
    if value.startswith(_DIGEST):  # in a stored request, it already is a digest
        return value
    return _DIGEST + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def without_credential(name: str, value: str) -> str:
    """The value of a parameter of the query, or its digest if it may be a credential."""
    return _digested(value) if value and query_names.is_credential(name) else value


def relevant_query(query: Query) -> str:
    """The query as it enters the key: sorted by name, without the caller's credential and the requested shape (`alt`).

    Google allows `$alt=sse;enum-encoding=int`; the part after the semicolon changes the answer and is kept.
    """
    kept: list[tuple[str, str]] = []
    for name, value in sorted(query, key=lambda pair: pair[0]):
        if query_names.is_callers(name):
            continue
        if name not in ("alt", "$alt"):
            kept.append((name, without_credential(name, value)))
        elif rest := value.partition(";")[2]:
            kept.append((name, rest))
    return urlencode(kept, errors="surrogateescape")


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
    """Hash everything but the body. The result can be passed to `finish` any number of times.

    `scope` is "" for shared entries, `upstream` the API's base URL, `resource` and `query` the relevant parts of path
    and query, and `headers` the request's headers with lower-case names.
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
    """The key in hex. `body` is the result of `Cache.key_body`; `credentials` is what the credentials that were taken
    out of the body add to the key, "" for nothing. Raises FormatError if the body has no canonical form."""
    return finish_written(beginning, [canonical(body)], credentials)


def finish_written(beginning: Any, canonical_body: Sequence[bytes], credentials: str = "") -> str:
    """`finish` of a body whose canonical form is given in pieces: joining screenshots would copy megabytes."""
    digest = beginning.copy()
    digest.update(sum(map(len, canonical_body)).to_bytes(8, "big"))
    for piece in canonical_body:
        digest.update(piece)
    if credentials:
        _add(digest, credentials.encode())
    return str(digest.hexdigest())


def _add(digest: Any, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "big"))
    digest.update(part)


def remove_pointers(body: dict[str, Any], pointers: Iterable[str]) -> dict[str, Any]:
    """A copy of `body` without the values that the JSON pointers name (RFC 6901; `*` matches any member or index).

    A name without a leading slash is a top-level field.
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
