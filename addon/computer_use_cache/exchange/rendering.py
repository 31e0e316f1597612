"""Renders a report: response headers, log line, and the comment and metadata of a flow. Nothing parses them back."""

from __future__ import annotations

import re
from collections.abc import Iterator

from computer_use_cache.accounting.units import dollars, duration
from computer_use_cache.exchange.report import Report, Storing
from computer_use_cache.models import Outcome, Skipped
from computer_use_cache.runs.lines import printable

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

HEADER_NAMES = ("Cache-Status", *(name for pair in _NAMES for name in pair), _REBOUND)
"""Every header that `headers` can give."""

_WORDS = {outcome: str(outcome) for outcome in Outcome} | {Outcome.COALESCED: "MISS", Outcome.REFUSED: "MISS"}
"""The header knows the original tool's outcomes and STALE: whatever the store did not answer is a miss."""

_NOT_IN_HEADERS = re.compile(r"[^ -~]")
_MOST_CHARS = 300
"""The longest header value or log line."""


# -- headers


def headers(report: Report) -> list[tuple[str, str]]:
    """The headers of a response."""
    age = "" if report.age is None else str(report.age)
    store, why = _header_text(storing(report)), _header_text(reason(report))
    found = _named(cache_status(report), (_WORDS[report.outcome], report.key, store, why, age))
    if report.rebound:
        found.append((_REBOUND, _rebound(report)))
    return found


def _named(status: str, texts: tuple[str, str, str, str, str]) -> list[tuple[str, str]]:
    """`texts` are the values of `_NAMES`; an empty one gives no header."""
    key = texts[1]
    found = [("Cache-Status", f"{CACHE_NAME}; {status}" + (f'; key="{key}"' if key else ""))]
    for (name, old_name), text in zip(_NAMES, texts, strict=True):
        if text:
            found += ((name, text), (old_name, text))
    return found


def hit_lines(report: Report) -> str:
    """What `headers` gives for a hit, as lines of HTTP/1.1, in a tenth of the time."""
    key, age = report.key, report.age
    lines = (
        f'Cache-Status: {CACHE_NAME}; {cache_status(report)}; key="{key}"\r\n'
        f"X-Computer-Use-Cache: HIT\r\nX-Code-Model-Cache: HIT\r\n"
        f"X-Computer-Use-Cache-Key: {key}\r\nX-Code-Model-Cache-Key: {key}\r\n"
        f"X-Computer-Use-Cache-Age: {age}\r\nX-Code-Model-Cache-Age: {age}\r\n"
    )
    return f"{lines}{_REBOUND}: {_rebound(report)}\r\n" if report.rebound else lines


def cache_status(report: Report) -> str:
    """The parameters of Cache-Status (RFC 9211) without the key."""
    ttl = "" if report.ttl is None else f"; ttl={report.ttl}"
    if report.outcome is Outcome.HIT:
        return f"hit{ttl}; detail=rebound" if report.rebound else f"hit{ttl}"
    if report.outcome is Outcome.REFUSED:
        return "detail=not-forwarded"
    status = f"fwd={report.fwd}"
    if report.status is not None:
        status += f"; fwd-status={report.status}"
    if report.storing in (Storing.STORED, Storing.UPDATED):
        status += "; stored"
    if report.collapsed:
        status += "; collapsed"
    return status + ttl


def storing(report: Report) -> str:
    """The Store header: what became of the answer, "" if no answer could be stored."""
    return str(report.storing or "")


def reason(report: Report) -> str:
    """The Reason header: why the request was not a hit, and why its answer is not stored."""
    return "; ".join(_reasons(report))


def _reasons(report: Report) -> Iterator[str]:
    if report.bypass:
        yield str(report.bypass)
    if report.said:
        yield report.said
    if report.near:
        yield str(report.near)
    if isinstance(report.storing, Skipped):
        yield report.storing.detail


def _rebound(report: Report) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in report.rebound)


def _header_text(text: str) -> str:
    """A text that may quote what a client or an upstream sent, fit for a header."""
    return _NOT_IN_HEADERS.sub("?", text[:_MOST_CHARS])


# -- for people


def log_line(report: Report) -> str:
    """One decision: `MISS 3f2a91c0 gpt-5: uri-miss, 200, stored`."""
    subject = " ".join(filter(None, (report.outcome, report.key[:8], report.model)))
    details = (
        report.fwd,
        "" if report.status is None else str(report.status),
        "" if report.age is None else f"age {report.age} s",
        f"rebound {_rebound(report)}" if report.rebound else "",
        "not stored" if isinstance(report.storing, Skipped) else report.storing,
        reason(report),
        report.error,
    )
    return printable(f"{subject}: {', '.join(filter(None, details))}".removesuffix(": ")[:_MOST_CHARS])


def comment(report: Report) -> str:
    """The comment of a flow: `HIT $0.0042, 8.1 s saved · 3f2a91c0`.

    Lists of flows show about fifteen letters of it. What matters most therefore follows the outcome: what a hit saved,
    where a miss differs from the nearest request, why a bypass was one.
    """
    near = report.near
    details = (
        str(near.differences[0]).removeprefix("/") if near else "",
        f"near {near.key[:8]}" if near else "",
        near.advice if near else "",
        _saved(report),
        str(report.bypass or ""),
        printable(report.error[:_MOST_CHARS]),
        report.said,
        storing(report),
        f"rebound {_rebound(report)}" if report.rebound else "",
        report.key[:8],
    )
    return f"{report.outcome} {' · '.join(filter(None, details))}".rstrip()


def _saved(report: Report) -> str:
    if report.saved is None or report.outcome is Outcome.COALESCED:
        return ""
    sums = [] if report.saved.usd is None else [dollars(report.saved.usd)]
    if report.outcome is Outcome.HIT:  # STALE has waited for the upstream
        sums.append(duration(report.saved.seconds))
    return f"{', '.join(sums)} saved" if sums else ""


def metadata(report: Report) -> dict[str, str | float | None]:
    """The metadata of a flow, which mitmproxy's filters read (`~meta "cache: HIT"`) and saved flows keep."""
    found: dict[str, str | float | None] = {
        "cache": str(report.outcome),
        "cache_key": report.key,
        "cache_store": storing(report),
        "cache_reason": reason(report),
        "cache_summary": comment(report),
    }
    if report.saved and report.outcome is not Outcome.COALESCED:
        found["cache_saved_usd"] = report.saved.usd
    if report.saved and report.outcome is Outcome.HIT:
        found["cache_saved_seconds"] = round(report.saved.seconds, 3)
    return found
