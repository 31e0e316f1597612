"""How a setting is declared, and which of its environment variables counts.

A setting's text comes from its option where it has one (whose default is the environment variable), else from the
environment. Credentials are read from the environment only: options are shown in mitmproxy's interfaces.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from computer_use_cache import setting_values
from computer_use_cache.errors import SettingError

DEFAULT_UPSTREAM = "https://openrouter.ai/api/v1"

_PROVIDERS_KEYS = {
    "OPENROUTER_API_KEY": ("openrouter.ai",),
    "OPENAI_API_KEY": ("api.openai.com", "*.openai.azure.com"),
}
"""Variables that hold a provider's key, with that provider's hosts. The key is sent to no other host."""

_NO_KEY = "unused"
"""What `env` sets OPENAI_API_KEY to for clients that insist on one."""


class Surface(StrEnum):
    """Where a setting can be given, apart from its environment variable."""

    OPTION = "option"
    START = "start"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Declaration:
    """How one setting is given. The first of its environment `variables` that is set wins."""

    name: str
    variables: tuple[str, ...]
    default: str
    parse: Callable[[str], Any]
    help: str
    surface: Surface

    @property
    def option(self) -> str | None:
        """The mitmproxy option, None if it has no option."""
        return "cache_" + self.name if self.surface is Surface.OPTION else None

    @property
    def flag(self) -> str | None:
        """The flag of `computer-use-cache start`, None if it has no flag."""
        if self.surface is Surface.ENVIRONMENT:
            return None
        return "--" + self.variables[0].lower().replace("_", "-")

    def variable_in(self, environment: Mapping[str, str]) -> str | None:
        """The variable that gives the setting in `environment`, None where it has its default."""
        given = (name for name in self.variables if environment.get(name))
        return next((name for name in given if _is_meant(name, environment)), None)

    def text_from(self, environment: Mapping[str, str]) -> str:
        """The setting's text in `environment`, or its default."""
        variable = self.variable_in(environment)
        return environment[variable] if variable else self.default

    def is_secret(self, text: str) -> bool:
        """Whether `text` must not be shown: it is a credential, or a URL that may hold one."""
        return bool(text) and (self.surface is Surface.ENVIRONMENT or "@" in text)

    def value_from(self, text: str) -> Any:
        """The parsed value; raises SettingError."""
        try:
            return self.parse(text)
        except ValueError as error:
            shown = "its value (not shown)" if self.is_secret(text) else repr(text)
            names = f"{self.variables[0]} (option {self.option})" if self.option else self.variables[0]
            raise SettingError(f"{names}: {shown} is not allowed; give {error}") from None


def _is_meant(variable: str, environment: Mapping[str, str]) -> bool:
    """Whether a variable that is set applies to this proxy and its upstream."""
    text = environment[variable]
    if variable == "OPENAI_BASE_URL":
        return not is_own_address(text, environment)
    if variable in _PROVIDERS_KEYS:
        host = _upstream_in(environment).strip().lower().partition("://")[2].partition("/")[0].removesuffix(":443")
        return text != _NO_KEY and any(fnmatch.fnmatchcase(host, pattern) for pattern in _PROVIDERS_KEYS[variable])
    return True


def _upstream_in(environment: Mapping[str, str]) -> str:
    """The text of the setting UPSTREAM_BASE_URL."""
    if url := environment.get("UPSTREAM_BASE_URL"):
        return url
    url = environment.get("OPENAI_BASE_URL")
    return url if url and not is_own_address(url, environment) else DEFAULT_UPSTREAM


def is_own_address(url: str, environment: Mapping[str, str]) -> bool:
    """Whether `url` is the proxy with this HOST and PORT. OPENAI_BASE_URL points agents to the proxy, and may be set in
    the proxy's own shell too."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port or setting_values.PORTS.get(parts.scheme)
    except ValueError:
        return False
    host = parts.hostname or ""
    is_own_host = host == environment.get("HOST") or setting_values.is_loopback(host)
    return is_own_host and str(port) == (environment.get("PORT") or "8000")
