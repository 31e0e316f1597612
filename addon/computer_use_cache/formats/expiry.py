"""When things that an answer names expire at the provider: containers, spoken answers, signed links.

Such an answer must not be replayed afterwards: its next turn would name something that is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_MEMBERS = frozenset({"expires_at", "expiresAt", "expire_time", "expireTime", "expiration_time", "expirationTime"})
_NOT_HANDED_OUT = frozenset(
    (
        *("metadata", "tools", "prompt", "instructions", "text", "args", "arguments", "input"),
        *("parameters", "input_schema", "function"),
    )
)
"""Members that repeat the request, or that the model wrote."""
_HINTS = (b"xpir", b"se=")
"""Every JSON text with a time of expiry contains one of these."""
_EARLIEST, _LATEST = 1e9, 1e15
"""Numbers beyond these are no times in Unix seconds."""


def may_expire(body: bytes) -> bool:
    """False if a JSON text cannot have a time of expiry, so that most answers need not be searched."""
    return any(hint in body for hint in _HINTS)


def earliest(answer: Any) -> float | None:
    """The first time (Unix seconds) at which something in a JSON value expires; None if nothing does."""
    return min(_times(answer), default=None)


def _times(answer: Any) -> Iterator[float]:
    pending = [answer]
    while pending:
        match pending.pop():
            case dict() as members:
                for name, member in members.items():
                    if name in _MEMBERS:
                        yield from _time(member)
                    elif isinstance(member, str):
                        yield from _signed_until(member) if name.lower().endswith(("url", "uri")) else ()
                    elif name not in _NOT_HANDED_OUT:
                        pending.append(member)
            case list() as items:
                pending.extend(items)


def _time(value: Any) -> Iterator[float]:
    """A time in Unix seconds or in ISO 8601."""
    match value:
        case bool():
            return
        case int() | float() if _EARLIEST <= value <= _LATEST:
            yield float(value)
        case str():
            try:
                time = datetime.fromisoformat(value)
            except ValueError:
                return
            yield (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _signed_until(url: str) -> Iterator[float]:
    """Until when a link is signed, as Amazon, Google, Azure and CloudFront write it."""
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    except ValueError:
        return
    for signer in ("x-amz", "x-goog"):
        try:
            signed = datetime.strptime(query[f"{signer}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            yield (signed + timedelta(seconds=int(query[f"{signer}-expires"]))).timestamp()
        except (LookupError, ValueError, OverflowError):
            continue
    if re.fullmatch("[0-9]{1,12}", query.get("expires", "")):
        yield from _time(int(query["expires"]))
    if "sig" in query:
        yield from _time(query.get("se"))
