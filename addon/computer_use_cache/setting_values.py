"""The kinds of values that settings have, and how each is read from text.

A reader raises ValueError whose message says what is allowed.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from computer_use_cache.store_url import StoreUrl


class Mode(StrEnum):
    """What the cache may do: `refresh` only writes, `offline` never goes upstream."""

    READWRITE = "readwrite"
    READONLY = "readonly"
    REFRESH = "refresh"
    OFFLINE = "offline"
    OFF = "off"


class Scope(StrEnum):
    """Who shares entries: `auto` is `shared` on a loopback address and `credential` elsewhere."""

    AUTO = "auto"
    SHARED = "shared"
    CREDENTIAL = "credential"


class Switch(StrEnum):
    """Whether something is done; `auto` decides by the other settings."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Samples(StrEnum):
    """Which of a request's samples answers it: the `latest` sample 1, or the `ordered` n-th for the n-th time."""

    LATEST = "latest"
    ORDERED = "ordered"


class Speed(StrEnum):
    """Paces of a replay that have a name."""

    INSTANT = "instant"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Floor:
    """A replay that takes at least this long, so that the page has changed before the agent looks at it again."""

    seconds: float


class HitUsage(StrEnum):
    """The usage that a hit reports."""

    RECORDED = "recorded"
    ZERO = "zero"


PORTS = {"http": 80, "https": 443}
"""The port that each scheme has when none is given."""


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """An API's base URL. `origin` is the scheme, the lower-case host and the port unless it is the scheme's default.
    `path` is "" or begins with a slash, and does not end with one."""

    origin: str
    path: str

    def __str__(self) -> str:
        return self.origin + self.path

    @classmethod
    def parse(cls, text: str) -> BaseUrl:
        """Raises ValueError unless `text` is an http or https URL with a host, and no user, query or fragment."""
        allowed = ValueError("an http or https URL such as https://api.openai.com/v1, without user, query or fragment")
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError:
            raise allowed from None
        host = (parts.hostname or "").lower()
        if parts.scheme not in PORTS or not re.fullmatch(r"[^\s@]+", host) or parts.username is not None:
            raise allowed
        if parts.query or parts.fragment:
            raise allowed
        host = f"[{host}]" if ":" in host else host
        suffix = "" if port in (None, PORTS[parts.scheme]) else f":{port}"
        return cls(f"{parts.scheme}://{host}{suffix}", parts.path.rstrip("/"))


def boolean(text: str) -> bool:
    """Yes or no."""
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("1, true, yes or on; 0, false, no or off")


def whole(text: str) -> int:
    """A number of things."""
    if re.fullmatch(r"[0-9]{1,15}", text.strip()):
        return int(text)
    raise ValueError("a whole number, 0 or more")


_MOST_WORKERS = 64


def workers(text: str) -> int:
    """A number of processes; `auto` is one for each core that this process may use, and one on Windows."""
    if text.strip().lower() == "auto":
        return min(cores(), _MOST_WORKERS)
    if text.strip().isdecimal() and 1 <= int(text) <= _MOST_WORKERS:
        return int(text)
    raise ValueError(f"auto, or a whole number from 1 to {_MOST_WORKERS}")


def cores() -> int:
    """How many cores this process may use, as far as several processes are of use: one on Windows."""
    if sys.platform == "win32":
        return 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def port(text: str) -> int:
    """A TCP port."""
    if re.fullmatch(r"[0-9]{1,5}", text.strip()) and int(text) <= 65535:
        return int(text)
    raise ValueError("a port, 0 to 65535 (0 takes a free one)")


def seconds(text: str) -> float:
    """A length of time."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text.strip()) and float(text) > 0:
        return float(text)
    raise ValueError("a number of seconds above 0")


def size(text: str) -> int:
    """A number of bytes; the prefixes are powers of 1024."""
    found = re.fullmatch(r"([0-9]{1,15})\s*(?:([KMGT])i?B?|B)?", text.strip(), re.IGNORECASE)
    if found and int(found[1]) > 0:
        factor: int = 1024 ** " KMGT".index((found[2] or " ").upper())
        return int(found[1]) * factor
    raise ValueError("a number of bytes above 0, or one with KiB, MiB, GiB or TiB")


def items(text: str) -> tuple[str, ...]:
    """The items of a list separated by commas, without empty ones."""
    return tuple(item for part in text.split(",") if (item := part.strip()))


def clients(text: str) -> tuple[tuple[str, str], ...]:
    """(name, token) of each client; the name is "" for a token given alone."""
    split = (item.partition(":") for item in items(text))
    found = tuple((name, token) if colon else ("", name) for name, colon, token in split)
    if all(token for _, token in found) and len({name for name, _ in found}) == len(found):
        return found
    raise ValueError("one token, or name:token pairs with distinct names, separated by commas")


def origins(text: str) -> tuple[str, ...]:
    """Origins of web pages (RFC 6454), or "*"."""
    if all(item == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", item) for item in items(text)):
        return items(text)
    raise ValueError("origins such as http://localhost:3000, separated by commas, or *")


def one_of[T: StrEnum](kind: type[T]) -> Callable[[str], T]:
    """The reader of one of these words."""

    def parse(text: str) -> T:
        try:
            return kind(text.strip().lower())
        except ValueError:
            raise ValueError(", ".join(kind)) from None

    return parse


def some_of[T: StrEnum](kind: type[T]) -> Callable[[str], frozenset[T]]:
    """The reader of any number of these words, separated by commas."""

    def parse(text: str) -> frozenset[T]:
        try:
            return frozenset(kind(item.lower()) for item in items(text))
        except ValueError:
            raise ValueError(f"any of {', '.join(kind)}, separated by commas") from None

    return parse


def speed(text: str) -> Speed | Floor | float:
    """A pace of replay."""
    if found := re.fullmatch(r"([0-9]{1,6})\s*ms", text.strip()):
        return Floor(int(found[1]) / 1000)
    if re.fullmatch(r"[0-9]{1,7}(\.[0-9]+)?", text.strip()) and float(text) > 0:
        return float(text)
    try:
        return Speed(text.strip().lower())
    except ValueError:
        raise ValueError("instant, recorded, a number of tokens a second, or a least time such as 500ms") from None


def store_url(text: str) -> str:
    """Where entries are kept."""
    given = text.strip()
    if given != "disk":
        StoreUrl.parse(given)
    return given


def text(given: str) -> str:
    """Any text, without white space around it."""
    return given.strip()


def folder(given: str) -> str:
    """A folder. None at all is refused: it would be the current one, which the store would take over."""
    if given.strip():
        return given.strip()
    raise ValueError("a folder")


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
