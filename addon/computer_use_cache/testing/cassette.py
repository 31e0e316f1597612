"""Cassettes, which hold the recorded model calls of one test, and the proxy process that plays them."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib import request

from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import CacheError, FormatError
from computer_use_cache.formats.base import load_object
from computer_use_cache.launch.environment import bindings
from computer_use_cache.models import Skipped
from computer_use_cache.setting_values import Mode
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Choice
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import jsonl
from computer_use_cache.transfer.recordings import Damaged, Exported, importing_cache
from computer_use_cache.transfer.run_lines import ExportedRun

_REBINDING = {"CACHE_REBIND": "on", "CACHE_SAMPLES": "ordered"}
"""A cassette is played on other machines and days than it was recorded on."""
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02
_MISS = "offline miss: "
"""How the message begins that the proxy logs for a request it refused."""
_PACKAGES = str(Path(__file__).parents[2])
_KEPT_VARIABLES = ("UPSTREAM_API_KEY",)
"""Variables that reach the proxy. OPENAI_API_KEY does not: clients send it, and the upstream may not be OpenAI."""


class CassetteError(CacheError):
    """A cassette cannot be played, or the proxy does not start. The message says why."""


class Player:
    """A proxy in its own process, on a free loopback port, with its own store in `folder`.

    `variables` are its settings, as environment variables. All other settings have their defaults, whatever the
    environment says.
    """

    def __init__(self, folder: Path, mode: Mode, variables: Mapping[str, str]) -> None:
        self._variables = {"CACHE_MODE": str(mode), "CACHE_TTL_SECONDS": "0", **_REBINDING, **variables}
        self._variables.setdefault("CACHE_BIND", bindings())
        self._folder = folder
        self._log = folder / "proxy.log"
        self._read = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = Settings.load(self._variables)
        self.url = ""

    def load(self, path: Path) -> None:
        """Fill the store from the cassette at `path`, or empty it if there is no such file.

        The entries never expire. Raises CassetteError if a line cannot be used.
        """
        if self._process:
            self._begin_run()
        with contextlib.closing(self._store()) as store:
            store.clear()
            if path.exists():
                _fill(importing_cache(self._settings, store, loopback=True), path)

    def _begin_run(self) -> None:
        """Make the running proxy count samples from 1 again, which it does after a clear."""
        headers = {"content-type": "application/json", "x-cache-admin-token": self._settings.admin_token}
        if self._settings.client_token:
            headers["authorization"] = f"Bearer {self._settings.client_token[0][1]}"
        opener = request.build_opener(request.ProxyHandler({}))
        try:
            opener.open(request.Request(f"{self.url}/cache/clear", b"{}", headers), timeout=_STOP_SECONDS).close()  # noqa: S310  # our own proxy
        except OSError as error:
            raise CassetteError(f"the cache cannot be cleared: {error}") from None

    def save(self, path: Path) -> None:
        """Write the store to the cassette at `path`, unless it is empty."""
        with contextlib.closing(self._store()) as store:
            if store.size().entries:
                path.parent.mkdir(parents=True, exist_ok=True)
                jsonl.write(path, jsonl.lines(store, Choice(), time.time()))

    def _store(self) -> DiskStore:
        return DiskStore(self._folder / "store", self._settings.size_limit)

    def start(self) -> None:
        """Start the proxy unless it is running. Raises CassetteError."""
        if self._process:
            return
        settings = {name for item in Settings.declarations() for name in item.variables}
        environment = {name: value for name, value in os.environ.items() if name not in settings}
        environment |= {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment |= self._variables
        environment |= {
            "CACHE_DIR": str(self._folder / "store"),
            "PORT": "0",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [_PACKAGES, os.environ.get("PYTHONPATH")])),
        }
        # -P: files in the current folder must not shadow libraries.
        command = [sys.executable, "-P", "-m", "computer_use_cache", "start"]
        command += ["--", "--set", f"confdir={self._folder / 'mitmproxy'}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # this package's own command
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.url = self._address()

    def _address(self) -> str:
        assert self._process
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends:
            ended = self._process.poll() is not None
            said = self._log.read_text("utf-8", "replace")
            if found := re.search(r"listening at (\S+:[0-9]+)\.", said):
                return f"http://{found[1]}"
            if ended:
                raise CassetteError(f"the cache did not start:\n{said}")
            time.sleep(_POLL_SECONDS)
        self.stop()
        raise CassetteError(f"the cache did not start in {_START_SECONDS:.0f} seconds")

    def misses(self) -> list[str]:
        """The requests that the cassette did not answer since the last call, as the proxy logged them."""
        if self._process is None:
            return []
        with self._log.open("rb") as log:
            log.seek(self._read)
            said = log.read()
            self._read += len(said)
        lines = said.decode("utf-8", "replace").splitlines()
        return [line.partition(_MISS)[2] for line in lines if _MISS in line]

    def stop(self) -> None:
        """End the process, after the answers in progress."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def upstream_of(path: Path) -> str | None:
    """The base URL of the model API from which the cassette at `path` was recorded; None if it does not say."""
    if path.exists():
        with contextlib.suppress(FormatError, AttributeError), path.open("rb") as file:
            for line in file:
                if upstream := (load_object(line).get("request") or {}).get("upstream"):
                    return str(upstream)
    return None


def _fill(cache: Cache, path: Path) -> None:
    refused, now = list[str](), time.time()
    for found in jsonl.read(path, cache):
        match found:
            case Exported(entry, record):
                cache.keep(replace(entry, expires_at=None), now, record)
            case Damaged(where, why):
                refused.append(f"{where}: {why}")
            case Skipped(detail=reason):
                refused.append(f"{path}: {reason}")
            case ExportedRun():
                pass  # a test looks at its own calls
    if refused:
        raise CassetteError("\n".join(refused))
