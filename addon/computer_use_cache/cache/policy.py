"""Decides what a request is allowed to do with the cache; every verdict has a reason.

Per-request controls are read here and removed before the request is forwarded. Cache-Control means what RFC 9111,
section 5.2.1, says.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from computer_use_cache.errors import RequestError
from computer_use_cache.models import Bypass, Reason
from computer_use_cache.rebinding.bindings import Bindings
from computer_use_cache.setting_values import Mode
from computer_use_cache.settings import Settings

CONTROL_HEADERS = (
    "x-cache-bypass",
    "x-cache-mode",
    "x-cache-ttl",
    "x-cache-namespace",
    "x-cache-sample",
    "x-cache-run",
    "x-cache-rebind",
    "x-cache-bind",
    "x-cache-reject",
    "x-cache-admin-token",
    "cache-control",
)
"""Read here and not forwarded, unless they are part of a signed request (proxy/forwarding.py)."""

ONLY_IF_CACHED = "Cache-Control: only-if-cached"

FORK = "fork --from"
"""The `upstream_ban` of the calls before the step at which a run is forked."""

NAMESPACE = re.compile(r"([!-~]([ -~]{0,198}[!-~])?)?")
"""A namespace, or "" for none."""

KEY = re.compile(r"[0-9a-f]{64}")
"""The key of an entry, as the Key header gives it."""

_CONTROL_FIELDS = ("cache", "cache_control", "metadata")
"""Fields of a body that may hold controls."""
_STORING_MODES = (Mode.READWRITE, Mode.REFRESH)
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Controls:
    """What one request is allowed to do.

    `bypass` is the bypass it asks for. `read_ban` names what forbids serving a stored answer, such as
    `Cache-Control: no-cache`, `write_ban` what forbids storing the answer, and `upstream_ban` what forbids asking
    upstream; each is "" if nothing does. `max_age` and `ttl` are in seconds. When the upstream fails, an entry may be
    served for `stale_seconds` after it expires. `run` is the name of the run that the request belongs to. If `rebinds`
    is set, an answer recorded for other values may be served with the present ones; `bindings` are the present values
    that are known beforehand. What the request does not specify is None.
    """

    bypass: Bypass | None
    read_ban: str
    write_ban: str
    upstream_ban: str
    max_age: int | None
    stale_seconds: int
    ttl: int | None
    namespace: str
    sample: int | None
    run: str
    rebinds: bool
    bindings: Bindings
    reject: str
    """The key of an entry to remove before the request is looked up, "" for none."""

    @property
    def read(self) -> bool:
        """Whether a stored answer may be served."""
        return not self.read_ban

    @property
    def write(self) -> bool:
        """Whether the answer may be stored."""
        return not self.write_ban

    @property
    def upstream(self) -> bool:
        """Whether the request may be sent upstream."""
        return not self.upstream_ban

    @property
    def coalesces(self) -> bool:
        """Whether identical requests may share one upstream call."""
        return self.read and self.write


def read_controls(headers: Mapping[str, str], settings: Settings) -> Controls:
    """What a request's headers ask for. Raises RequestError (400) for a bad value in an X-Cache-* header."""
    mode = _mode(headers, settings)
    directives = _directives(headers.get("cache-control", ""))
    max_age = directives.get("max-age", "")
    return Controls(
        bypass=_requested_bypass(headers, mode),
        read_ban=_ban("no-cache", directives) or (_mode_source(headers, mode) if mode is Mode.REFRESH else ""),
        write_ban=_ban("no-store", directives) or ("" if mode in _STORING_MODES else _mode_source(headers, mode)),
        upstream_ban=upstream_ban(headers, settings),
        max_age=int(max_age) if re.fullmatch(r"[0-9]{1,12}", max_age) else None,
        stale_seconds=_stale_seconds(mode, directives, settings),
        ttl=_whole(headers, "x-cache-ttl", 0),
        namespace=_name(headers, "x-cache-namespace"),
        sample=_whole(headers, "x-cache-sample", 1),
        run=_name(headers, "x-cache-run"),
        rebinds=_header_flag(headers, "x-cache-rebind") if "x-cache-rebind" in headers else settings.rebind,
        bindings=_bindings(headers, settings),
        reject=_rejected_key(headers, mode),
    )


def upstream_ban(headers: Mapping[str, str], settings: Settings) -> str:
    """What forbids sending a request with these headers upstream, "" if nothing does. Raises RequestError (400)."""
    mode = _mode(headers, settings)
    if mode is Mode.OFFLINE:
        return _mode_source(headers, mode)
    return ONLY_IF_CACHED if "only-if-cached" in _directives(headers.get("cache-control", "")) else ""


def _ban(directive: str, directives: Mapping[str, str]) -> str:
    return f"Cache-Control: {directive}" if directive in directives else ""


def _mode_source(headers: Mapping[str, str], mode: Mode) -> str:
    """The header or setting that the mode comes from, spelled as a user writes it."""
    asked = headers.get("x-cache-mode", "").strip().lower()
    return f"X-Cache-Mode: {mode}" if asked == mode else f"CACHE_MODE={mode}"


def _stale_seconds(mode: Mode, directives: Mapping[str, str], settings: Settings) -> int:
    """A request's stale-if-error (RFC 5861) only shortens the time: no entry is kept for longer than the setting."""
    if mode is Mode.REFRESH or not directives.keys().isdisjoint(("no-cache", "no-store", "max-age")):
        return 0
    asked = directives.get("stale-if-error", "")
    most = settings.stale_if_error_seconds
    return min(int(asked), most) if re.fullmatch(r"[0-9]{1,12}", asked) else most


def _mode(headers: Mapping[str, str], settings: Settings) -> Mode:
    text = headers.get("x-cache-mode")
    try:
        wanted = Mode(text.strip().lower()) if text is not None else settings.mode
    except ValueError:
        raise RequestError(400, f"X-Cache-Mode: {text!r} is not one of {', '.join(Mode)}.") from None
    return settings.mode if settings.mode is Mode.OFFLINE else wanted


def _requested_bypass(headers: Mapping[str, str], mode: Mode) -> Bypass | None:
    if _header_flag(headers, "x-cache-bypass"):
        return Bypass(Reason.HEADER)
    return Bypass(Reason.MODE) if mode is Mode.OFF else None


def _header_flag(headers: Mapping[str, str], name: str) -> bool:
    text = headers.get(name, "0")
    is_set = _truth(text)
    if is_set is None:
        raise RequestError(400, f"{_title(name)}: {text!r} is neither true nor false.")
    return is_set


def _whole(headers: Mapping[str, str], name: str, least: int) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", text.strip()) or int(text) < least:
        raise RequestError(400, f"{_title(name)}: {text!r} is not a whole number from {least} to 999999999999.")
    return int(text)


def _name(headers: Mapping[str, str], header: str) -> str:
    text = headers.get(header, "")
    if header in headers and not (text and NAMESPACE.fullmatch(text)):
        raise RequestError(400, f"{_title(header)}: give 1 to 200 printable ASCII characters.")
    return text


def _bindings(headers: Mapping[str, str], settings: Settings) -> Bindings:
    """The values that a request gives for its run; the setting provides the others."""
    text = headers.get("x-cache-bind")
    if text is None:
        return settings.bind
    try:
        return Bindings({**settings.bind.values, **Bindings.parse(text).values})
    except ValueError as error:
        raise RequestError(400, f"X-Cache-Bind: give {error}.") from None


def _rejected_key(headers: Mapping[str, str], mode: Mode) -> str:
    text = headers.get("x-cache-reject")
    if text is None:
        return ""
    if not KEY.fullmatch(text.strip()):
        raise RequestError(400, f"X-Cache-Reject: {text!r} is not a key: 64 hexadecimal digits, in lower case.")
    if mode not in _STORING_MODES:
        raise RequestError(400, f"X-Cache-Reject: no entry may be removed while the cache mode is {mode}.")
    return text.strip()


def _title(name: str) -> str:
    return name.title().replace("Ttl", "TTL")


def _directives(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.lower().split(","))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _truth(value: object) -> bool | None:
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def body_bypass(body: Mapping[str, Any], settings: Settings) -> Bypass | None:
    """The bypass that the body's controls ask for. If there are none, CACHE_ENABLED decides."""
    is_wanted = None if body.keys().isdisjoint(_CONTROL_FIELDS) else _requested_in_body(body)
    if is_wanted is False:
        return Bypass(Reason.DISABLED_BY_REQUEST)
    return Bypass(Reason.DISABLED) if is_wanted is None and not settings.enabled else None


def _requested_in_body(body: Mapping[str, Any]) -> bool | None:
    control, metadata = body.get("cache_control"), body.get("metadata")
    places = [(body, "cache"), (control, "enabled"), (metadata, "cache"), (metadata, "cache_enabled")]
    found = (_truth(place[name]) for place, name in places if isinstance(place, Mapping) and name in place)
    return next((is_wanted for is_wanted in found if is_wanted is not None), None)


def without_controls(body: dict[str, Any]) -> dict[str, Any]:
    """The body to forward: the same object when it holds none of our controls."""
    if body.keys().isdisjoint(_CONTROL_FIELDS):
        return body
    # A `cache` that is an object or a list is not our control. It may be meant for a proxy behind this one.
    removed = {"cache"} if "cache" in body and not isinstance(body["cache"], (dict, list)) else set()
    if isinstance(body.get("cache_control"), dict) and "enabled" in body["cache_control"]:
        removed.add("cache_control")
    if removed:
        body = {name: value for name, value in body.items() if name not in removed}
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and not metadata.keys().isdisjoint(("cache", "cache_enabled")):
        body = body | {"metadata": {k: v for k, v in metadata.items() if k not in ("cache", "cache_enabled")}}
    return body


def model_verdict(model: str, settings: Settings) -> Bypass | None:
    """The bypass for a model that the allow and deny lists keep out of the cache."""
    if not (settings.model_allowlist or settings.model_denylist):
        return None
    denied = any(fnmatch.fnmatchcase(model, pattern) for pattern in settings.model_denylist)
    allowed = not settings.model_allowlist or any(fnmatch.fnmatchcase(model, one) for one in settings.model_allowlist)
    return None if allowed and not denied else Bypass(Reason.MODEL, model)
