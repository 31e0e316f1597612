"""Every setting, declared once: from here come the mitmproxy option, the environment variable, `start`'s flag,
`doctor`'s output and the README's table.

A setting's text comes from its option where it has one (whose default is the environment variable), else from the
environment. Credentials are read from the environment only: options are shown in mitmproxy's interfaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from computer_use_cache.errors import SettingError


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


class Surface(StrEnum):
    """Where a setting can be given, beside its environment variable."""

    OPTION = "option"
    START = "start"
    ENVIRONMENT = "environment"


class Speed(StrEnum):
    """The speeds of a replayed stream that are no number of tokens a second."""

    INSTANT = "instant"
    RECORDED = "recorded"


KNOWN_HOSTS = (
    "api.openai.com,*.openai.azure.com,api.anthropic.com,openrouter.ai,generativelanguage.googleapis.com,"
    "*-aiplatform.googleapis.com,api.deepseek.com,api.groq.com,api.mistral.ai,api.x.ai,api.together.xyz,"
    "api.fireworks.ai,api.perplexity.ai,api.cerebras.ai,api.moonshot.ai"
)
"""The model APIs that are cached when they are intercepted."""


_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where an API lives: `origin` is scheme, lower-case host and any port that is not the scheme's own; `path` has
    no slash at its end, and is "" or starts with one."""

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
        if parts.scheme not in _PORTS or not re.fullmatch(r"[^\s@]+", host) or parts.username is not None:
            raise allowed
        if parts.query or parts.fragment:
            raise allowed
        host = f"[{host}]" if ":" in host else host
        suffix = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
        return cls(f"{parts.scheme}://{host}{suffix}", parts.path.rstrip("/"))


def _boolean(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("1, true, yes or on; 0, false, no or off")


def _whole(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,15}", text.strip()):
        return int(text)
    raise ValueError("a whole number, 0 or more")


def _port(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text.strip()) and int(text) <= 65535:
        return int(text)
    raise ValueError("a port, 0 to 65535 (0 takes a free one)")


def _seconds(text: str) -> float:
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text.strip()) and float(text) > 0:
        return float(text)
    raise ValueError("a number of seconds above 0")


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,15})\s*(?:([KMGT])i?B?|B)?", text.strip(), re.IGNORECASE)
    if found and int(found[1]) > 0:
        factor: int = 1024 ** " KMGT".index((found[2] or " ").upper())
        return int(found[1]) * factor
    raise ValueError("a number of bytes above 0, or one with KiB, MiB, GiB or TiB")


def _list(text: str) -> tuple[str, ...]:
    return tuple(item for part in text.split(",") if (item := part.strip()))


def _clients(text: str) -> tuple[tuple[str, str], ...]:
    """(name, token) of each client; the name is "" for a token given alone."""
    clients = tuple((name, token) if colon else ("", name) for name, colon, token in map(_colon, _list(text)))
    if all(token for _, token in clients) and len({name for name, _ in clients}) == len(clients):
        return clients
    raise ValueError("one token, or name:token pairs with distinct names, separated by commas")


def _colon(text: str) -> tuple[str, str, str]:
    return text.partition(":")


def _origins(text: str) -> tuple[str, ...]:
    if all(item == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", item) for item in _list(text)):
        return _list(text)
    raise ValueError("origins such as http://localhost:3000, separated by commas, or *")


def _one_of[T: StrEnum](kind: type[T]) -> Callable[[str], T]:
    def parse(text: str) -> T:
        try:
            return kind(text.strip().lower())
        except ValueError:
            raise ValueError(", ".join(kind)) from None

    return parse


def _speed(text: str) -> Speed | float:
    if re.fullmatch(r"[0-9]{1,7}(\.[0-9]+)?", text.strip()) and float(text) > 0:
        return float(text)
    try:
        return Speed(text.strip().lower())
    except ValueError:
        raise ValueError("instant, recorded, or a number of tokens a second") from None


def _text(text: str) -> str:
    return text.strip()


def _is_own_address(url: str, environment: Mapping[str, str]) -> bool:
    """Whether `url` is this proxy itself: agents are told OPENAI_BASE_URL, and so would be the proxy's own shell."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return False
    host = parts.hostname or ""
    own_host = host in ("localhost", "::1", environment.get("HOST")) or host.startswith("127.")
    return own_host and str(port) == (environment.get("PORT") or "8000")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting's outside: `variables` are its environment variables, the first that is set wins."""

    name: str
    variables: tuple[str, ...]
    default: str
    parse: Callable[[str], Any]
    help: str
    surface: Surface

    @property
    def option(self) -> str | None:
        """The mitmproxy option, None where there is none."""
        return "cache_" + self.name if self.surface is Surface.OPTION else None

    @property
    def flag(self) -> str | None:
        """The flag of `computer-use-cache start`, None where there is none."""
        if self.surface is Surface.ENVIRONMENT:
            return None
        return "--" + self.variables[0].lower().replace("_", "-")

    def text_from(self, environment: Mapping[str, str]) -> str:
        """The setting's text in `environment`, or its default."""
        for name in self.variables:
            text = environment.get(name, "")
            if text and not (name == "OPENAI_BASE_URL" and _is_own_address(text, environment)):
                return text
        return self.default

    def value_from(self, text: str) -> Any:
        """The parsed value; raises SettingError."""
        try:
            return self.parse(text)
        except ValueError as error:
            is_secret = self.surface is Surface.ENVIRONMENT or "@" in text  # the password of a URL
            shown = "its value (not shown)" if is_secret else repr(text)
            names = f"{self.variables[0]} (option {self.option})" if self.option else self.variables[0]
            raise SettingError(f"{names}: {shown} is not allowed; give {error}") from None


def _setting(
    variables: str,
    default: str,
    parse: Callable[[str], Any],
    help: str,
    surface: Surface = Surface.OPTION,
) -> Any:
    return field(metadata={"declaration": (tuple(variables.split()), default, parse, help, surface)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parsed settings. Field names are the option names without `cache_`."""

    upstream_base_url: BaseUrl = _setting(
        "UPSTREAM_BASE_URL OPENAI_BASE_URL",
        "https://openrouter.ai/api/v1",
        BaseUrl.parse,
        "The model API behind the cache. OPENAI_BASE_URL is taken too, unless it points at this proxy.",
    )
    upstream_api_key: str = _setting(
        "UPSTREAM_API_KEY OPENROUTER_API_KEY OPENAI_API_KEY",
        "",
        _text,
        "Sent upstream in place of the client's key; empty forwards the client's.",
        Surface.ENVIRONMENT,
    )
    upstream_timeout_seconds: float = _setting(
        "UPSTREAM_TIMEOUT_SECONDS",
        "180",
        _seconds,
        "How long to wait for the upstream's first byte, and between the bytes of a stream.",
    )
    host: str = _setting(
        "HOST",
        "127.0.0.1",
        _text,
        "The address to listen on; one that is not loopback needs CACHE_CLIENT_TOKEN.",
        Surface.START,
    )
    port: int = _setting("PORT", "8000", _port, "The port to listen on.", Surface.START)
    dir: str = _setting("CACHE_DIR", "./.computer-use-cache", _text, "The folder of the store, made with mode 0700.")
    db_path: str = _setting(
        "CACHE_DB_PATH",
        "",
        _text,
        "The original tool's SQLite file; its entries are imported once.",
        Surface.ENVIRONMENT,
    )
    enabled: bool = _setting("CACHE_ENABLED", "1", _boolean, "0 bypasses the cache; a request's `cache: true` wins.")
    mode: Mode = _setting(
        "CACHE_MODE",
        "readwrite",
        _one_of(Mode),
        "readwrite, readonly, refresh (write only), offline (never go upstream; a miss is a 504 error) or off.",
    )
    ttl_seconds: int = _setting(
        "CACHE_TTL_SECONDS", "2592000", _whole, "How long an entry is served, in seconds; 0: it never expires."
    )
    max_input_chars: int = _setting(
        "CACHE_MAX_INPUT_CHARS",
        "16000000",
        _whole,
        "The largest request to cache, in bytes; a screenshot takes about 1.2 million.",
    )
    max_response_chars: int = _setting(
        "CACHE_MAX_RESPONSE_CHARS", "16000000", _whole, "The largest answer to store, in bytes."
    )
    size_limit: int = _setting(
        "CACHE_SIZE_LIMIT", "4GiB", _size, "The size of the store; entries stored longest ago go first."
    )
    model_allowlist: tuple[str, ...] = _setting(
        "CACHE_MODEL_ALLOWLIST", "", _list, "Shell patterns, separated by commas: cache these models only."
    )
    model_denylist: tuple[str, ...] = _setting(
        "CACHE_MODEL_DENYLIST", "", _list, "Shell patterns, separated by commas: never cache these models."
    )
    ignore_keys: tuple[str, ...] = _setting(
        "CACHE_IGNORE_KEYS",
        "",
        _list,
        "Body fields left out of the key, separated by commas: names, or JSON pointers such as /messages/*/name.",
    )
    scope: Scope = _setting(
        "CACHE_SCOPE",
        "auto",
        _one_of(Scope),
        "shared, credential (callers with different keys share nothing) or auto: shared on loopback only.",
    )
    replay_speed: Speed | float = _setting(
        "CACHE_REPLAY_SPEED",
        "instant",
        _speed,
        "How fast a stream is replayed: instant, recorded, or a number of tokens a second.",
    )
    hosts: tuple[str, ...] = _setting(
        "CACHE_HOSTS", KNOWN_HOSTS, _list, "Shell patterns, separated by commas: hosts to cache when intercepted."
    )
    keep_connection_strategy: bool = _setting(
        "CACHE_KEEP_CONNECTION_STRATEGY",
        "0",
        _boolean,
        "1 keeps mitmproxy's connection_strategy; the cache sets lazy, without which a hit needs the upstream up.",
    )
    admin_token: str = _setting(
        "CACHE_ADMIN_TOKEN", "", _text, "When set, needed for /cache/clear.", Surface.ENVIRONMENT
    )
    client_token: tuple[tuple[str, str], ...] = _setting(
        "CACHE_CLIENT_TOKEN",
        "",
        _clients,
        "When set, clients send it as their API key; name:token pairs give each client entries of its own.",
        Surface.ENVIRONMENT,
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "CACHE_ALLOWED_HOSTS",
        "",
        _list,
        "Host names the proxy answers to, beside loopback names and the address it was reached at.",
    )
    cors_allow_origin: tuple[str, ...] = _setting(
        "CORS_ALLOW_ORIGIN", "", _origins, "Origins of web pages that may use the proxy, separated by commas."
    )
    include_metadata: bool = _setting(
        "INCLUDE_CACHE_METADATA", "0", _boolean, "1 adds `computer_use_cache` to JSON answers."
    )
    openrouter_http_referer: str = _setting(
        "OPENROUTER_HTTP_REFERER", "", _text, "Sent upstream as HTTP-Referer, OpenRouter's attribution."
    )
    openrouter_x_title: str = _setting(
        "OPENROUTER_X_TITLE", "", _text, "Sent upstream as X-Title, OpenRouter's attribution."
    )

    @staticmethod
    def declarations() -> Iterator[Declaration]:
        """Every setting's declaration, in the order of the README's table."""
        for item in fields(Settings):
            yield Declaration(item.name, *item.metadata["declaration"])

    @classmethod
    def load(cls, environment: Mapping[str, str], options: Mapping[str, str] | None = None) -> Settings:
        """The settings from option texts (by option name; absent ones come from the environment).

        Raises SettingError for the first bad value.
        """
        given = options or {}
        texts = {item: given.get(item.option or "", item.text_from(environment)) for item in cls.declarations()}
        return cls(**{item.name: item.value_from(text) for item, text in texts.items()})
