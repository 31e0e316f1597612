"""The files that make programs trust a private proxy are written once for each set of authorities."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

import tls
from computer_use_cache.errors import CacheError
from computer_use_cache.launch import trust
from computer_use_cache.launch.environment import STORE_PASSWORD
from computer_use_cache.network import certificates_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """mitmproxy's folder, with an authority."""
    tls.certificate(tmp_path)
    [own] = certificates_in((tmp_path / "server.pem").read_bytes())
    trust.authority(tmp_path).write_bytes(own + b"\n")
    return tmp_path


@pytest.mark.parametrize("java", [None, "/usr/bin/java"])
def test_the_files_hold_the_authority_among_the_others(
    java: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: java)
    files = trust.files(folder)
    listed = certificates_in(files.bundle.read_bytes())
    assert trust.authority(folder).read_bytes().strip() == listed[0]
    assert len(listed) > 20
    assert (files.java is not None) == (java is not None)
    if files.java:
        with warnings.catch_warnings(action="ignore"):  # some authorities are old and malformed
            known = pkcs12.load_pkcs12(files.java.read_bytes(), STORE_PASSWORD.encode()).additional_certs
        assert len(known) > 20


def test_the_next_run_finds_them(folder: Path) -> None:
    first = trust.files(folder)
    written = first.bundle.stat()
    assert trust.files(folder) == first
    assert first.bundle.stat() == written


def test_another_authority_gets_files_of_its_own(folder: Path) -> None:
    first = trust.files(folder)
    trust.authority(folder).write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert trust.files(folder).bundle != first.bundle


def test_files_that_cannot_be_written_are_a_clear_error(folder: Path) -> None:
    trust.authority(folder).unlink()
    with pytest.raises(CacheError, match="cannot be made to trust the proxy"):
        trust.files(folder)
