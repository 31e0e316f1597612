"""The files by which programs trust a private proxy.

They lie beside mitmproxy's authority and are named after their content, so only the first run has to write them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from pathlib import Path

from computer_use_cache.errors import CacheError
from computer_use_cache.launch.environment import STORE_PASSWORD, Trust
from computer_use_cache.network import authorities, certificates_in, named_after, write_once

FOLDER = Path("~/.mitmproxy")
"""Where mitmproxy keeps its authority, unless its option `confdir` names another folder."""


def authority(folder: Path) -> Path:
    """The certificate that mitmproxy signs with, which it creates when it starts for the first time."""
    return folder / "mitmproxy-ca-cert.pem"


def files(folder: Path) -> Trust:
    """The files in mitmproxy's `folder`, which has an authority. Raises CacheError."""
    try:
        everything = authority(folder).read_bytes() + authorities(os.environ)
        bundle = write_once(named_after("trusted", everything, folder), lambda: everything)
        if shutil.which("java") is None:
            return Trust(authority(folder), bundle)
        java = write_once(bundle.with_suffix(".p12"), lambda: _truststore(everything))
    except OSError as error:
        raise CacheError(f"programs cannot be made to trust the proxy: {error}") from None
    return Trust(authority(folder), bundle, java)


def _truststore(everything: bytes) -> bytes:
    """The authorities as a Java truststore, without old ones that are malformed."""
    from cryptography import x509  # noqa: PLC0415  # only the first run needs it
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12  # noqa: PLC0415

    certificates = []
    with warnings.catch_warnings(action="ignore"):
        for index, pem in enumerate(certificates_in(everything)):
            with contextlib.suppress(ValueError):
                certificate = x509.load_pem_x509_certificate(pem)
                certificates.append(pkcs12.PKCS12Certificate(certificate, f"authority {index}".encode()))
    return pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(STORE_PASSWORD.encode()))
