"""`install --ca`: prints the commands that make this machine trust mitmproxy's authority. It runs none of them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from computer_use_cache.errors import CacheError
from computer_use_cache.launch import authority
from computer_use_cache.launch.trust import FOLDER

_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
"""The system's list as one file: Debian and Arch, Fedora."""


def tell() -> None:
    """Print where the authority is, which programs trust it, and the commands. Raises CacheError if it is missing."""
    found = authority.load(FOLDER.expanduser())
    if found is None:
        raise CacheError(f"{FOLDER} holds no authority yet. mitmproxy creates it when it starts: start the cache once")
    click.echo(f"mitmproxy's authority: {found.certificate}, valid until {found.valid_until:%Y-%m-%d}")
    for name, trusts in authority.trusting(found).items():
        click.echo(f"  {name}: {'trusts it' if trusts else 'does not trust it'}")
    click.echo(
        "\n`computer-use-cache run` and base URLs work without this. Other kinds of interception (a proxy in the\n"
        "system's settings, `--mode local:`) need it. For all programs that use the system's list:\n"
    )
    for step in _of_system(found.certificate):
        click.echo(f"  {step}")
    click.echo("\nFor programs with lists of their own, in the environment of the agent:\n")
    click.echo(f"  export NODE_EXTRA_CA_CERTS='{found.certificate}'")
    if bundle := next(filter(Path.exists, map(Path, _BUNDLES)), None):
        click.echo(f"  export SSL_CERT_FILE={bundle} REQUESTS_CA_BUNDLE={bundle}    # once the system trusts it")
    click.echo(f"\nAnyone who can read {found.key} can decrypt the traffic of programs that trust it: keep it private.")


def _of_system(certificate: Path) -> list[str]:
    if sys.platform == "darwin":
        keychain = "/Library/Keychains/System.keychain"
        return [f"sudo security add-trusted-cert -d -p ssl -p basic -k {keychain} '{certificate}'"]
    if sys.platform == "win32":
        return [f'certutil -addstore root "{certificate.with_suffix(".cer")}"    (as administrator)']
    if shutil.which("update-ca-certificates"):
        place = "/usr/local/share/ca-certificates/mitmproxy.crt"
        return [f"sudo cp '{certificate}' {place}", "sudo update-ca-certificates"]
    if shutil.which("trust"):
        return [f"sudo trust anchor --store '{certificate}'"]
    return [f"add '{certificate}' as your system's manual says"]
