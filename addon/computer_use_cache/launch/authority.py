"""mitmproxy's certificate authority: where its files are, and which programs on this machine trust it."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from computer_use_cache.errors import CacheError

_SECONDS = 20.0
_PYTHON = """
import socket, ssl, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1].rpartition(":")[2]))) as raw:
    ssl.create_default_context().wrap_socket(raw, server_hostname="localhost").close()
"""
_REQUESTS = """
import importlib.util, sys
if importlib.util.find_spec("requests") is None:
    sys.exit(3)
import requests
requests.get(sys.argv[1])
"""
_NODE = "require('https').get(process.argv[1], a => process.exit(0)).on('error', () => process.exit(1))"
_PROBES = {
    "python": ("python3", "-c", _PYTHON),
    "requests": ("python3", "-c", _REQUESTS),
    "curl": ("curl", "--silent", "--max-time", "10"),
    "node": ("node", "-e", _NODE),
}
_NOT_HERE = 3
"""The exit status of a probe for something that is not installed."""


@dataclass(frozen=True, slots=True)
class Authority:
    """`certificate` is the file that others must trust. `key` is the file with the private key that mitmproxy signs
    with."""

    certificate: Path
    key: Path
    valid_until: datetime


def load(folder: Path) -> Authority | None:
    """The authority in mitmproxy's `folder`, None if it does not exist yet. Raises CacheError if it is unusable."""
    authority = folder / "mitmproxy-ca-cert.pem", folder / "mitmproxy-ca.pem"
    if not any(file.exists() for file in authority):
        return None
    try:
        loaded = x509.load_pem_x509_certificate(authority[0].read_bytes())
        key = load_pem_private_key(authority[1].read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise CacheError(f"mitmproxy's authority in {folder} cannot be read: {error}") from None
    if key.public_key() != loaded.public_key():
        raise CacheError(f"{authority[0]} does not match {authority[1]}; remove both, and mitmproxy creates new ones")
    return Authority(*authority, loaded.not_valid_after_utc)


def trusting(authority: Authority) -> dict[str, bool]:
    """Whether each known program that is installed trusts the authority in this environment, found out by trying."""
    environment = os.environ | {"NO_PROXY": "localhost", "no_proxy": "localhost"}
    found = {}
    with _server(authority) as url:
        for name, (program, *arguments) in _PROBES.items():
            if path := shutil.which(program):
                status = _status([path, *arguments, url], environment)
                if status != _NOT_HERE:
                    found[name] = status == 0
    return found


def _status(command: list[str], environment: dict[str, str]) -> int:
    try:
        return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=_SECONDS).returncode  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 1


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def _server(authority: Authority) -> Iterator[str]:
    """The URL of an HTTPS server on this machine whose certificate the authority has signed."""
    from mitmproxy.certs import dummy_cert  # noqa: PLC0415  # the command line runs where it is not installed

    signer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    key = load_pem_private_key(authority.key.read_bytes(), None)
    leaf = dummy_cert(key, signer, "localhost", x509.GeneralNames([x509.DNSName("localhost")]))  # type: ignore[arg-type]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "localhost.pem"
        file.write_bytes(leaf.to_cryptography().public_bytes(Encoding.PEM))
        context.load_cert_chain(file, authority.key)
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_port}"
        server.shutdown()
        thread.join()
