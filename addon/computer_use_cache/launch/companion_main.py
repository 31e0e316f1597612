"""The private proxy of `run`: prints where it listens, and never outlives the process that started it.

`python -m computer_use_cache.launch.companion_main` takes mitmdump's command line. What mitmproxy prints goes to
standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from mitmproxy import ctx, options
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.tools import cmdline, main

from computer_use_cache.launch import workers
from computer_use_cache.launch.environment import STORE_PASSWORD, Trust
from computer_use_cache.launch.master import LeanMaster
from computer_use_cache.network import authorities, certificates_in


class _Report:
    """An addon that reports the proxy's port, and the files in `folder` that make programs trust it."""

    def __init__(self, out: TextIO, folder: Path) -> None:
        self._out = out
        self._folder = folder

    async def running(self) -> None:
        servers = ctx.master.addons.get("proxyserver").servers
        port = next(server.listen_addrs[0][1] for server in servers if not isinstance(server.mode, ReverseMode))
        trust = await asyncio.to_thread(_trust, Path(ctx.options.confdir).expanduser(), self._folder)
        files = {name: file and str(file) for name, file in asdict(trust).items()}
        print(json.dumps({"port": port, "trust": files}), file=self._out, flush=True)


def _trust(confdir: Path, folder: Path) -> Trust:
    authority = confdir / "mitmproxy-ca-cert.pem"
    everything = authority.read_bytes() + authorities(os.environ)
    (folder / "bundle.pem").write_bytes(everything)
    if shutil.which("java") is None:
        return Trust(authority, folder / "bundle.pem")
    (folder / "trust.p12").write_bytes(_truststore(everything))
    return Trust(authority, folder / "bundle.pem", folder / "trust.p12")


def _truststore(everything: bytes) -> bytes:
    """The authorities as a Java truststore, without old ones that are malformed."""
    certificates = []
    with warnings.catch_warnings(action="ignore"):
        for index, pem in enumerate(certificates_in(everything)):
            with contextlib.suppress(ValueError):
                certificate = x509.load_pem_x509_certificate(pem)
                certificates.append(pkcs12.PKCS12Certificate(certificate, f"authority {index}".encode()))
    return pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(STORE_PASSWORD.encode()))


def serve() -> None:
    """Run until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    workers.end_with_parent()
    with tempfile.TemporaryDirectory(prefix="computer-use-cache-") as folder:

        class Companion(LeanMaster):
            def __init__(self, opts: options.Options) -> None:
                super().__init__(opts)
                self.addons.add(_Report(out, Path(folder)))

        main.run(Companion, cmdline.mitmdump, sys.argv[1:])


if __name__ == "__main__":
    serve()
