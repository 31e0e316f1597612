"""How this machine reaches other hosts: the HTTP proxies that its environment names, and the authorities it trusts.

Company networks set both. The cache follows the variables that every other program follows, for its upstream too.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import certifi

from computer_use_cache.errors import SettingError
from computer_use_cache.setting_values import is_loopback

BUNDLES = (
    "SSL_CERT_FILE",  # OpenSSL, Python's ssl and httpx, Go, Rust's rustls and openssl, uv
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
"""Variables that name a file with every trusted authority. The variables of git, pip and cargo are left out: these
programs call no model, and setting them would override the user's own configuration."""
_MORE_AUTHORITIES = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR")
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/cert.pem",  # macOS, the BSDs
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization` is the value of its Proxy-Authorization header, empty without credentials."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    authorization: str

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def url(self) -> str:
        """Its URL without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def parse(cls, name: str, text: str) -> Proxy:
        """The proxy that the variable `name` holds. Raises SettingError for one that does not speak HTTP."""
        # The value is not shown: it may hold a password.
        refusal = f"{name} names no http:// or https:// proxy; give it one, or unset it"
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            port = parts.port
        except ValueError:
            raise SettingError(refusal) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingError(refusal)
        scheme: Literal["http", "https"] = "http" if parts.scheme == "http" else "https"
        authorization = ""
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        return cls(scheme, parts.hostname, port or (80 if scheme == "http" else 443), authorization)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies for https:// and http:// URLs, and the hosts that are reached without them (NO_PROXY)."""

    https: Proxy | None = None
    http: Proxy | None = None
    exceptions: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], own_ports: Collection[int] = ()) -> Proxies:
        """The proxies that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name, in small letters too.

        A proxy at one of `own_ports` on this machine is the caller itself and ignored. Raises SettingError for a proxy
        that does not speak HTTP.
        """

        def find(*names: str) -> Proxy | None:
            spelled = [spelling for name in names for spelling in (name.lower(), name)]
            name = next((name for name in spelled if environment.get(name)), None)
            proxy = Proxy.parse(name, environment[name]) if name else None
            return None if proxy and is_loopback(proxy.host) and proxy.port in own_ports else proxy

        listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        exceptions = tuple(item.strip().lower() for item in listed.split(",") if item.strip())
        if "*" in exceptions:
            return cls()
        return cls(find("HTTPS_PROXY", "ALL_PROXY"), find("HTTP_PROXY", "ALL_PROXY"), exceptions)

    def find(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy to reach a host through, None to reach it directly. This machine is always reached directly."""
        proxy = self.https if scheme == "https" else self.http
        if proxy is None or is_loopback(host) or any(_matches(item, host.lower(), port) for item in self.exceptions):
            return None
        return proxy

    def authorize(self, address: tuple[str, int] | None, headers: MutableMapping[str, str]) -> None:
        """Add the credentials of the proxy at this address to the headers of a request to it."""
        proxy = next((each for each in (self.https, self.http) if each and each.address == address), None)
        if proxy and proxy.authorization:
            headers["proxy-authorization"] = proxy.authorization


def _matches(exception: str, host: str, port: int) -> bool:
    """True if NO_PROXY's `exception` covers the host: a network (10.0.0.0/8), or a name or address, perhaps with a
    port. A name covers its subdomains, as it does for curl, Go and Python."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(exception.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, number = exception.rpartition(":")
    if colon and number.isdecimal():
        if int(number) != port:
            return False
        exception = name
    domain = exception.strip("[]").removeprefix("*").removeprefix(".")
    return host == domain or host.endswith(f".{domain}")


def authorities(environment: Mapping[str, str]) -> bytes:
    """Every authority trusted here, each once, in PEM: the system's, certifi's and those that the environment names."""
    named = [environment.get(name, "") for name in (*BUNDLES, *_MORE_AUTHORITIES)]
    places = [*_SYSTEM, certifi.where(), *(place for text in named for place in text.split(os.pathsep))]
    found = dict.fromkeys(pem for place in places if place for pem in _certificates_at(Path(place)))
    found |= dict.fromkeys(_windows_store())
    return b"\n".join(found) + b"\n"


def _certificates_at(place: Path) -> Iterator[bytes]:
    """The certificates of a file, or of every file in a folder (SSL_CERT_DIR)."""
    try:
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        for file in files:
            if file.is_file():
                yield from certificates_in(file.read_bytes())
    except OSError:
        return  # other programs ignore what they cannot read, too


def _windows_store() -> Iterator[bytes]:
    """Windows keeps its authorities in a store of its own; elsewhere there are none."""
    if enumerate_store := getattr(ssl, "enum_certificates", None):
        for certificate, encoding, _ in enumerate_store("ROOT"):
            if encoding == "x509_asn":
                yield ssl.DER_cert_to_PEM_cert(certificate).strip().encode()


def certificates_in(text: bytes) -> list[bytes]:
    """The certificates of a PEM file."""
    return _CERTIFICATE.findall(text)


def write_authorities(environment: Mapping[str, str], folder: Path) -> Path:
    """The authorities as a file in `folder`, for all processes that trust the same. Raises OSError."""
    text = authorities(environment)
    return write_once(named_after("authorities", text, folder), lambda: text)


def named_after(kind: str, content: bytes, folder: Path) -> Path:
    """The PEM file in `folder` that is named after its content."""
    return folder / f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}.pem"


def write_once(file: Path, content: Callable[[], bytes]) -> Path:
    """Write a file unless it exists already; the file. Readers never see a part of it. Raises OSError."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        partial.write_bytes(content())
        partial.replace(file)
    return file
