"""What clients are told of the cache, in the headers of an answer, and what a flow's metadata keeps of it."""

from __future__ import annotations

import re

import msgspec
from mitmproxy import http

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import dump, load_object
from computer_use_cache.models import Outcome
from computer_use_cache.settings import Settings

CACHE_NAME = "computer-use-cache"

_TOLD = (b"x-computer-use-cache", b"x-code-model-cache")
"""What another cache of this kind behind this one told gives way; its Cache-Status stays, as RFC 9211 wants it."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """What the response headers tell of the cache; `status` are the parameters of Cache-Status (RFC 9211)."""

    outcome: Outcome
    status: str
    key: str = ""
    store: str = ""
    reason: str = ""
    age: str = ""


_TELLING = tuple(
    ("X-Computer-Use-Cache" + suffix, "X-Code-Model-Cache" + old_suffix)
    for suffix, old_suffix in (
        ("", ""),
        ("-Key", "-Key"),
        ("-Store", "-Store"),
        ("-Reason", "-Bypass-Reason"),
        ("-Age", "-Age"),
    )
)
"""The headers of what is told, and what older clients know them by."""
_UNPRINTABLE = re.compile(r"[^ -~]")

COALESCED = "COALESCED"
"""What the metadata of a flow calls a miss that another one's upstream call answered."""

SAVED_SECONDS, SAVED_USD = "cache_saved_seconds", "cache_saved_usd"
"""In a flow's metadata, where known: what its answer took when it was recorded, and now did not."""


def note(flow: http.HTTPFlow, told: Told) -> None:
    """Keep what is told in the flow's metadata, which filters read (`~meta "cache: HIT"`) and saved flows hold."""
    is_collapsed = told.outcome is Outcome.MISS and "collapsed" in told.status
    flow.metadata["cache"] = COALESCED if is_collapsed else str(told.outcome)
    flow.metadata |= {"cache_key": told.key, "cache_store": told.store, "cache_reason": told.reason}
    for name in (SAVED_SECONDS, SAVED_USD):
        flow.metadata.pop(name, None)  # of an answer before this one


def tell(flow: http.HTTPFlow, response: http.Response, told: Told, settings: Settings) -> None:
    """Tell the client and whoever looks at the flow."""
    note(flow, told)
    describe(response, told, settings)


def describe(response: http.Response, told: Told, settings: Settings) -> None:
    """Set the cache's headers, and with INCLUDE_CACHE_METADATA add them to a JSON object that is not streamed."""
    headers = response.headers
    kept = (item for item in headers.fields if not item[0].lower().startswith(_TOLD))
    headers.fields = (*kept, *((name.encode(), value.encode()) for name, value in told_headers(told)))
    if settings.include_metadata and response.raw_content:
        response.content = with_metadata(response.raw_content, headers.get("content-type", ""), told, settings)


def told_headers(told: Told) -> list[tuple[str, str]]:
    """The cache's headers."""
    member = f"{CACHE_NAME}; {told.status}" + (f'; key="{told.key}"' if told.key else "")
    headers = [("Cache-Status", member)]
    # Some of what was skipped, and why, may come from the client.
    store, reason = (_UNPRINTABLE.sub("?", text[:300]) for text in (told.store, told.reason))
    for (name, old_name), value in zip(_TELLING, (told.outcome, told.key, store, reason, told.age), strict=True):
        if value:
            headers += ((name, value), (old_name, value))
    return headers


_HIT = "".join(
    f"{name}: {value}\r\n" for name, value in told_headers(Told(Outcome.HIT, "%(status)s", "%(key)s", age="%(age)s"))
)
"""Made once, filled in for every hit."""


def hit_lines(told: Told) -> str:
    """What `told_headers` gives of a hit with a key and an age, as lines of HTTP/1.1, in a fifth of the time."""
    return _HIT % {"status": told.status, "key": told.key, "age": told.age}


def with_metadata(body: bytes, content_type: str, told: Told, settings: Settings) -> bytes:
    """With INCLUDE_CACHE_METADATA, a JSON object with what is told in it; anything else as it is."""
    if not settings.include_metadata or "json" not in content_type:
        return body
    try:
        answer = load_object(body)
    except FormatError:
        return body
    metadata = {
        "cache_hit": told.outcome in (Outcome.HIT, Outcome.STALE),
        "cache_key": told.key or None,
        "store_status": told.store or None,
        "bypass_reason": told.reason or None,
    }
    return dump(answer | {"computer_use_cache": metadata, "code_model_cache": metadata})
