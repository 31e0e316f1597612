"""Renders a result: response headers, log line, and the comment and metadata of a flow. Nothing parses them back."""

from __future__ import annotations

import re
from collections.abc import Iterator

from computer_use_cache.exchange.result import Result, Storing
from computer_use_cache.models import Outcome, Skipped
from computer_use_cache.runs.lines import printable
from computer_use_cache.units import dollars, duration

CACHE_NAME = "computer-use-cache"

_NAMES = tuple(
    ("X-Computer-Use-Cache" + suffix, "X-Code-Model-Cache" + old_suffix)
    for suffix, old_suffix in (
        ("", ""),
        ("-Key", "-Key"),
        ("-Store", "-Store"),
        ("-Reason", "-Bypass-Reason"),
        ("-Age", "-Age"),
    )
)
"""Our headers, each with the name that older clients know it by."""
_REBOUND = "X-Computer-Use-Cache-Rebound"

_WORDS = {outcome: str(outcome) for outcome in Outcome} | {Outcome.COALESCED: "MISS", Outcome.REFUSED: "MISS"}
"""The header knows the original tool's outcomes and STALE: whatever the store did not answer is a miss."""

_NOT_IN_HEADERS = re.compile(r"[^ -~]")
_MOST_CHARS = 300
"""The longest header value or log line."""


# -- headers


def headers(result: Result) -> list[tuple[str, str]]:
    """The headers of a response."""
    age = "" if result.age is None else str(result.age)
    store, why = _header_text(storing(result)), _header_text(reason(result))
    found = _named(cache_status(result), (_WORDS[result.outcome], result.key, store, why, age))
    if result.rebound:
        found.append((_REBOUND, _rebound(result)))
    return found


def _named(status: str, texts: tuple[str, str, str, str, str]) -> list[tuple[str, str]]:
    """`texts` are the values of `_NAMES`; an empty one gives no header."""
    key = texts[1]
    found = [("Cache-Status", f"{CACHE_NAME}; {status}" + (f'; key="{key}"' if key else ""))]
    for (name, old_name), text in zip(_NAMES, texts, strict=True):
        if text:
            found += ((name, text), (old_name, text))
    return found


def hit_lines(result: Result) -> str:
    """What `headers` gives for a hit, as lines of HTTP/1.1, in a tenth of the time."""
    key, age = result.key, result.age
    lines = (
        f'Cache-Status: {CACHE_NAME}; {cache_status(result)}; key="{key}"\r\n'
        f"X-Computer-Use-Cache: HIT\r\nX-Code-Model-Cache: HIT\r\n"
        f"X-Computer-Use-Cache-Key: {key}\r\nX-Code-Model-Cache-Key: {key}\r\n"
        f"X-Computer-Use-Cache-Age: {age}\r\nX-Code-Model-Cache-Age: {age}\r\n"
    )
    return f"{lines}{_REBOUND}: {_rebound(result)}\r\n" if result.rebound else lines


def cache_status(result: Result) -> str:
    """The parameters of Cache-Status (RFC 9211) without the key."""
    ttl = "" if result.ttl is None else f"; ttl={result.ttl}"
    if result.outcome is Outcome.HIT:
        return f"hit{ttl}; detail=rebound" if result.rebound else f"hit{ttl}"
    if result.outcome is Outcome.REFUSED:
        return "detail=not-forwarded"
    status = f"fwd={result.fwd}"
    if result.status is not None:
        status += f"; fwd-status={result.status}"
    if result.storing in (Storing.STORED, Storing.UPDATED):
        status += "; stored"
    if result.collapsed:
        status += "; collapsed"
    return status + ttl


def storing(result: Result) -> str:
    """The Store header: what became of the answer, "" if no answer could be stored."""
    return str(result.storing or "")


def reason(result: Result) -> str:
    """The Reason header: why the request was not a hit, and why its answer is not stored."""
    return "; ".join(_reasons(result))


def _reasons(result: Result) -> Iterator[str]:
    if result.bypass:
        yield str(result.bypass)
    if result.said:
        yield result.said
    if result.near:
        yield str(result.near)
    if isinstance(result.storing, Skipped):
        yield result.storing.detail


def _rebound(result: Result) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in result.rebound)


def _header_text(text: str) -> str:
    """A text that may quote what a client or an upstream sent, fit for a header."""
    return _NOT_IN_HEADERS.sub("?", text[:_MOST_CHARS])


# -- for people


def log_line(result: Result) -> str:
    """One decision: `MISS 3f2a91c0 gpt-5: uri-miss, 200, stored`."""
    subject = " ".join(filter(None, (result.outcome, result.key[:8], result.model)))
    details = (
        result.fwd,
        "" if result.status is None else str(result.status),
        "" if result.age is None else f"age {result.age} s",
        f"rebound {_rebound(result)}" if result.rebound else "",
        "not stored" if isinstance(result.storing, Skipped) else result.storing,
        reason(result),
        result.error,
    )
    return printable(f"{subject}: {', '.join(filter(None, details))}".removesuffix(": ")[:_MOST_CHARS])


def comment(result: Result) -> str:
    """The comment of a flow: `HIT $0.0042, 8.1 s saved · 3f2a91c0`.

    Lists of flows show about fifteen letters of it. What matters most therefore follows the outcome: what a hit saved,
    where a miss differs from the nearest request, why a bypass was one.
    """
    near = result.near
    details = (
        str(near.differences[0]).removeprefix("/") if near else "",
        f"near {near.key[:8]}" if near else "",
        near.advice if near else "",
        _saved(result),
        str(result.bypass or ""),
        printable(result.error[:_MOST_CHARS]),
        result.said,
        storing(result),
        f"rebound {_rebound(result)}" if result.rebound else "",
        result.key[:8],
    )
    return f"{result.outcome} {' · '.join(filter(None, details))}".rstrip()


def _saved(result: Result) -> str:
    if result.saved is None or result.outcome is Outcome.COALESCED:
        return ""
    sums = [] if result.saved.usd is None else [dollars(result.saved.usd)]
    if result.outcome is Outcome.HIT:  # STALE has waited for the upstream
        sums.append(duration(result.saved.seconds))
    return f"{', '.join(sums)} saved" if sums else ""


def metadata(result: Result) -> dict[str, str | float | None]:
    """The metadata of a flow, which mitmproxy's filters read (`~meta "cache: HIT"`) and saved flows keep."""
    found: dict[str, str | float | None] = {
        "cache": str(result.outcome),
        "cache_key": result.key,
        "cache_store": storing(result),
        "cache_reason": reason(result),
        "cache_summary": comment(result),
    }
    if result.saved and result.outcome is not Outcome.COALESCED:
        found["cache_saved_usd"] = result.saved.usd
    if result.saved and result.outcome is Outcome.HIT:
        found["cache_saved_seconds"] = round(result.saved.seconds, 3)
    return found
