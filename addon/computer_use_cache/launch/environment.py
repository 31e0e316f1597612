"""The environment that makes a program call model APIs through a proxy on this machine, and trust it.

Every runtime reads variables of its own. Services on this machine are still reached directly, and so are the hosts
that browsers call for themselves.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from computer_use_cache.network import BUNDLES

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_DIRECT = ("localhost", "127.0.0.1", "::1")
_OF_CHROMIUM = (
    "accounts.google.com",
    "clients2.google.com",
    "connectivitycheck.gstatic.com",
    "redirector.gvt1.com",
    "update.googleapis.com",
)
"""Hosts that Chromium calls for itself. No model answers there, and behind a proxy that cannot reach them Chromium
opens a tab for a captive portal, which then is on the agent's screenshots."""
STORE_PASSWORD = "changeit"  # noqa: S105  # Java's own default: there is nothing secret in a truststore


@dataclass(frozen=True, slots=True)
class Trust:
    """Files that make a program trust the proxy: its authority alone and among all others (both PEM), and all of them
    as a Java truststore (None where there is no Java)."""

    authority: Path
    bundle: Path
    java: Path | None = None


def bindings() -> str:
    """The bindings (CACHE_BIND) of a run that this process starts: its folder, home, user and host."""
    known = {"cwd": os.getcwd(), "home": os.path.expanduser("~"), "host": platform.node(), "tmp": tempfile.gettempdir()}
    with contextlib.suppress(OSError, KeyError):  # a user without a name
        known["user"] = getpass.getuser()
    return ",".join(f"{name}={value}" for name, value in known.items() if value and "," not in value)


def proxied(port: int, trust: Trust, given: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to those `given`, for a proxy on this loopback port."""
    url = f"http://127.0.0.1:{port}"
    own = given.get("NO_PROXY") or given.get("no_proxy")
    # If the environment names a proxy already, that may be the only way out.
    has_proxy = any(given.get(name) or given.get(name.lower()) for name in _PROXIES)
    hosts = _DIRECT if has_proxy else (*_DIRECT, *_OF_CHROMIUM)
    direct = ",".join(dict.fromkeys((own, *hosts) if own else hosts))
    variables = dict.fromkeys(_PROXIES, url) | {"NO_PROXY": direct}
    variables |= {name.lower(): value for name, value in variables.items()}
    variables |= dict.fromkeys(BUNDLES, str(trust.bundle))
    variables["NODE_EXTRA_CA_CERTS"] = str(trust.bundle if given.get("NODE_EXTRA_CA_CERTS") else trust.authority)
    variables["NODE_USE_ENV_PROXY"] = "1"
    # By default Claude Code begins its prompts with a hash that differs from run to run.
    variables["CLAUDE_CODE_ATTRIBUTION_HEADER"] = given.get("CLAUDE_CODE_ATTRIBUTION_HEADER", "0")
    if trust.java:
        variables["JAVA_TOOL_OPTIONS"] = f"{given.get('JAVA_TOOL_OPTIONS', '')} {_java(port, trust.java)}".strip()
    return variables


def base_urls(url: str) -> dict[str, str]:
    """The variables that point the clients of model APIs at a cache at `url` (without a path)."""
    openai = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENROUTER_BASE_URL")
    others = ("ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL")
    return dict.fromkeys(openai, f"{url}/v1") | dict.fromkeys(others, url)


def _java(port: int, truststore: Path) -> str:
    properties = {f"{scheme}.proxyHost": "127.0.0.1" for scheme in ("http", "https")}
    properties |= {f"{scheme}.proxyPort": str(port) for scheme in ("http", "https")}
    properties |= {
        "http.nonProxyHosts": "localhost|127.*|[::1]",
        "javax.net.ssl.trustStore": str(truststore),
        "javax.net.ssl.trustStoreType": "PKCS12",
        "javax.net.ssl.trustStorePassword": STORE_PASSWORD,
    }
    return " ".join(f"-D{name}={value}" for name, value in properties.items())
