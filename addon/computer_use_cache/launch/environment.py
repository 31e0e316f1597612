"""The environment of a program whose calls are to go through a proxy on this machine, and who is to trust it.

Each runtime reads variables of its own; this machine's own services stay reached directly.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import certifi

from computer_use_cache.errors import CacheError

_BUNDLES = (
    "SSL_CERT_FILE",  # OpenSSL, Python's ssl and httpx, Go, Rust's rustls and openssl, uv
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
"""What names a file with every authority that is trusted. Not those of git, pip and cargo: they call no model, so that
they meet the certificates they always do, and their variables would put their own configuration aside."""
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/cert.pem",  # macOS, the BSDs
)
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_DIRECT = ("localhost", "127.0.0.1", "::1")
STORE_PASSWORD = "changeit"  # noqa: S105  # Java's own default: there is nothing secret in a truststore
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Trust:
    """Files, in PEM but for `java`: the proxy's authority, it among all others, and a truststore of all (or none)."""

    authority: Path
    bundle: Path
    java: Path | None = None


@dataclass(frozen=True, slots=True)
class Outward:
    """The proxy that a program was to use already; `authorization` is a header's value, empty without credentials."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    authorization: str

    @property
    def url(self) -> str:
        """Without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def outward(given: Mapping[str, str]) -> Outward | None:
    """The proxy that HTTPS_PROXY, else ALL_PROXY, names; None without.

    Raises CacheError for one that does not speak HTTP.
    """
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    name = next((name for name in names if given.get(name)), None)
    if name is None:
        return None
    # Not with the value, which may hold a password.
    refusal = f"{name} names no http:// or https:// proxy, and no other can be gone through"
    try:
        parts = urlsplit(given[name] if "://" in given[name] else f"http://{given[name]}")
        port = parts.port
    except ValueError:
        raise CacheError(refusal) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CacheError(refusal)
    scheme: Literal["http", "https"] = "http" if parts.scheme == "http" else "https"
    authorization = ""
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    return Outward(scheme, parts.hostname, port or (80 if scheme == "http" else 443), authorization)


def bundle(authority: bytes, given: Mapping[str, str]) -> bytes:
    """The authorities that a program with this environment trusts, and the proxy's; in PEM, each once."""
    files = [*_SYSTEM, certifi.where(), *(given.get(name) for name in (*_BUNDLES, "NODE_EXTRA_CA_CERTS"))]
    texts = [authority, *(Path(file).read_bytes() for file in files if file and Path(file).is_file())]
    return b"\n".join(dict.fromkeys(found for text in texts for found in certificates_in(text))) + b"\n"


def certificates_in(text: bytes) -> list[bytes]:
    """The certificates of a PEM file, each as one."""
    return _CERTIFICATE.findall(text)


def proxied(port: int, trust: Trust, given: Mapping[str, str]) -> dict[str, str]:
    """The variables to set on top of those that are `given`, for a proxy on this loopback port."""
    url = f"http://127.0.0.1:{port}"
    direct = ",".join(dict.fromkeys([*filter(None, (given.get("NO_PROXY") or given.get("no_proxy"),)), *_DIRECT]))
    variables = dict.fromkeys(_PROXIES, url) | {"NO_PROXY": direct}
    variables |= {name.lower(): value for name, value in variables.items()}
    variables |= dict.fromkeys(_BUNDLES, str(trust.bundle))
    variables["NODE_EXTRA_CA_CERTS"] = str(trust.bundle if given.get("NODE_EXTRA_CA_CERTS") else trust.authority)
    variables["NODE_USE_ENV_PROXY"] = "1"
    # Claude Code begins its prompts with a hash that differs from run to run, unless it is told not to.
    variables["CLAUDE_CODE_ATTRIBUTION_HEADER"] = given.get("CLAUDE_CODE_ATTRIBUTION_HEADER", "0")
    if trust.java:
        variables["JAVA_TOOL_OPTIONS"] = f"{given.get('JAVA_TOOL_OPTIONS', '')} {_java(port, trust.java)}".strip()
    return variables


def based(url: str) -> dict[str, str]:
    """The variables that point clients of model APIs at a cache at `url` (without a path)."""
    return {
        "OPENAI_BASE_URL": url + "/v1",
        "OPENAI_API_BASE": url + "/v1",
        "ANTHROPIC_BASE_URL": url,
        "GOOGLE_GEMINI_BASE_URL": url,
    }


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
