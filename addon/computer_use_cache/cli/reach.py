"""Asks the upstream through a private proxy, which sees the network exactly as `start` does: the same forward proxies,
the same authorities, the same time-outs of names and connections."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import tempfile
from urllib.parse import urlsplit

from computer_use_cache import network
from computer_use_cache.cli import client
from computer_use_cache.errors import CacheError
from computer_use_cache.launch import companion
from computer_use_cache.setting_values import PORTS, BaseUrl
from computer_use_cache.settings import Settings

_SECONDS = 8.0
_FAILURES = ("upstream_request_failed", "upstream_timeout")


def status_of_upstream(settings: Settings) -> int:
    """The status of `GET /models`. Raises CacheError, with what to do, when there is no answer."""
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "cache_dir": folder,
            "cache_store_url": "disk",
            "cache_mode": "off",
            "cache_upstream_timeout_seconds": str(_SECONDS),
        }
        with companion.running(settings, options, (), base_url=True) as proxy:
            proxy.wait()
            url = f"http://127.0.0.1:{proxy.base_port}/models"
            status, answer = client.fetch(url, headers=client.authorization(settings))
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and error.get("code") in _FAILURES:
        raise CacheError(f"{error['message']}{_unknown_authority(settings.upstream_base_url, error['message'])}")
    return status


def _unknown_authority(upstream: BaseUrl, message: str) -> str:
    """Which authority to add where a certificate is not trusted, and how; empty for any other failure."""
    if "certificate verify failed" not in message.lower():
        return ""
    issuer = _issuer(upstream)
    signed = f" It is signed by the authority {issuer}." if issuer else ""
    return f"{signed} Name a file with the certificate of its authority in SSL_CERT_FILE."


def _issuer(upstream: BaseUrl) -> str | None:
    """Who signed the upstream's certificate, by a connection that verifies nothing and sends no request."""
    from cryptography import x509  # noqa: PLC0415  # only for this message

    parts = urlsplit(upstream.origin)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    proxy = network.Proxies.from_environment(os.environ).find(parts.scheme, host, port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        *(proxy.address if proxy else (host, port)), timeout=_SECONDS, context=context
    )
    if proxy:
        connection.set_tunnel(host, port, {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {})
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError), contextlib.closing(connection):
        connection.connect()
        certificate = connection.sock.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(bytes(certificate or b"")).issuer.rfc4514_string()
    return None
