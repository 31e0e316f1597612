"""Puts the rendering of a result on mitmproxy's responses and flows."""

from __future__ import annotations

from mitmproxy import ctx, http

from computer_use_cache.errors import FormatError
from computer_use_cache.exchange import rendering
from computer_use_cache.exchange.result import Result
from computer_use_cache.formats.base import dump, load_object
from computer_use_cache.models import Outcome
from computer_use_cache.settings import Settings

_OURS = (b"x-computer-use-cache", b"x-code-model-cache")
"""Our headers. If another of our caches is behind this one, they replace its own; its Cache-Status stays (RFC 9211)."""


def note(flow: http.HTTPFlow, result: Result) -> None:
    """Keep the result in the flow's metadata."""
    for name in ("cache_saved_seconds", "cache_saved_usd"):
        flow.metadata.pop(name, None)  # of an earlier answer: the flow may be replayed
    flow.metadata |= rendering.metadata(result)


def name_run(flow: http.HTTPFlow, run: str) -> None:
    """Keep the run that a request belongs to in the flow's metadata, "" if it is not known before it is recorded."""
    flow.metadata.pop("cache_step", None)  # of an earlier answer
    flow.metadata.pop("cache_run", None)
    if run:
        flow.metadata["cache_run"] = run


def note_step(flow: http.HTTPFlow, run: str, step: int | None) -> None:
    """Keep the run and the step that a call was recorded as, and have the list of flows apply its filter again."""
    flow.metadata.setdefault("cache_run", run)
    if step is not None:
        flow.metadata["cache_step"] = step
    view = ctx.master.addons.get("view")
    if view is not None:  # a view without flows is falsy
        view.update([flow])


def tell(flow: http.HTTPFlow, response: http.Response, result: Result, settings: Settings) -> None:
    """Put the result into the response headers and the flow's metadata.

    With INCLUDE_CACHE_METADATA, the body of a JSON answer that is not streamed has it too.
    """
    note(flow, result)
    headers = response.headers
    others = (item for item in headers.fields if not item[0].lower().startswith(_OURS))
    headers.fields = (*others, *((name.encode(), value.encode()) for name, value in rendering.headers(result)))
    if settings.include_metadata and response.raw_content:
        response.content = with_metadata(response.raw_content, headers.get("content-type", ""), result, settings)


def with_metadata(body: bytes, content_type: str, result: Result, settings: Settings) -> bytes:
    """The body with the result in it, if INCLUDE_CACHE_METADATA is set and it is a JSON object; else unchanged."""
    if not settings.include_metadata or "json" not in content_type:
        return body
    try:
        answer = load_object(body)
    except FormatError:
        return body
    metadata = {
        "cache_hit": result.outcome in (Outcome.HIT, Outcome.STALE),
        "cache_key": result.key or None,
        "store_status": rendering.storing(result) or None,
        "bypass_reason": rendering.reason(result) or None,
    }
    return dump(answer | {"computer_use_cache": metadata, "code_model_cache": metadata})
