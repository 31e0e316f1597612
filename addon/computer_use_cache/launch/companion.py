"""The private proxy of another program: a process of its own, whose ports are there before it is.

The ports are bound here, so that the program need not wait while mitmproxy is loaded: its first connections are
accepted once the proxy is up.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from computer_use_cache.errors import CacheError
from computer_use_cache.launch import launcher, trust
from computer_use_cache.run_models import CALL_LINES, GIVEN_ANSWER, OWN_RUN, LineStyle
from computer_use_cache.settings import Settings

_END_SECONDS = 15.0
"""The time that a companion has to end. It gives running exchanges less."""
_REPORT_SECONDS = 0.02
"""How long it takes to read the proxy's report that it is up, which it sends before it accepts a connection."""
_BACKLOG = 4096
"""Connections that may wait until the proxy is up."""
_INHERITS = os.name == "posix"
"""Whether a process can be given sockets. Elsewhere the proxy binds the ports itself."""


class Companion:
    """A private proxy on the loopback `port`, and on `base_port` in its reverse mode (None without one)."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], port: int, base_port: int | None) -> None:
        self.port = port
        self.base_port = base_port
        self.folder = trust.FOLDER.expanduser()
        """mitmproxy's folder. It may turn out to be another one once the proxy is up."""
        self._process = process
        self._log = log
        self._is_up = False
        self._is_settled = threading.Event()
        """Set once it is up or has failed."""
        self._on_failure: Callable[[], object] = lambda: None
        self._reader = threading.Thread(target=self._read, name="call-lines", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        if told := self._process.stdout.readline():
            self.folder = Path(json.loads(told)["confdir"]).expanduser()
            self._is_up = True
        self._is_settled.set()
        if not told:
            self._on_failure()
        for line in self._process.stdout:
            sys.stderr.write(line.decode("utf-8", "replace"))
            sys.stderr.flush()

    @property
    def may_be_used_at_once(self) -> bool:
        """Whether programs can connect to it, and trust it, before it is up."""
        return _INHERITS and trust.authority(self.folder).exists()

    def wait(self) -> None:
        """Wait until it is up. Raises CacheError if it does not start."""
        self._is_settled.wait()
        self.check()

    def check(self) -> None:
        """Raise CacheError if it has failed to start."""
        if self._is_settled.is_set() and not self._is_up:
            self._process.wait()
            raise CacheError(f"the proxy did not start: {_tail(self._log) or 'it said nothing'}")

    def when_failed(self, action: Callable[[], object]) -> None:
        """Have `action` called, in any thread, if the proxy does not start."""
        self._on_failure = action
        if self._is_settled.is_set() and not self._is_up:
            action()

    def kill(self) -> None:
        """End it at once, even if it is serving a request."""
        self._on_failure = lambda: None
        self._process.kill()
        self._reader.join(_END_SECONDS)

    def end(self) -> str:
        """End it and return its last warnings. A proxy that is not up yet has served nobody, and is not waited for."""
        self._is_settled.wait(_REPORT_SECONDS)
        if not self._is_up:
            return ""
        assert self._process.stdin
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
            self._reader.join(_END_SECONDS)
        return _tail(self._log)


@contextlib.contextmanager
def running(
    settings: Settings,
    options: Mapping[str, str],
    own: Sequence[str],
    *,
    base_url: bool,
    run: str = "",
    answer: str = "",
    lines: LineStyle = LineStyle.NONE,
) -> Iterator[Companion]:
    """A private proxy on free loopback ports, which ends with this context and with this process, however it ends.

    It goes through the proxy that this process's environment names, if any. With `base_url` it is a reverse proxy
    too. All of its calls belong to the run with the id `run`, if that is not "". If that run is a fork, the file
    `answer` is the answer to its first call. The proxy's `lines` go to standard error. The other arguments are those
    of `launcher.arguments`.
    """
    bound = [socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) for _ in range(2 if base_url else 1)]
    ports = [each.getsockname()[1] for each in bound]
    upstream = settings.upstream_base_url
    line = ["-s", str(launcher.entry_path()), "--mode", f"regular@127.0.0.1:{ports[0]}"]
    if base_url:
        line += ["--mode", f"reverse:{upstream.origin}@127.0.0.1:{ports[1]}"]
    line += ["--set", "flow_detail=0", "--set", "termlog_verbosity=warn"]
    line += [*launcher.set_options(dict(options) | {"cache_upstream_base_url": str(upstream)}), *own]
    given = {OWN_RUN: run, GIVEN_ANSWER: answer, CALL_LINES: lines}
    with tempfile.TemporaryFile() as log, _process(line, bound, log, given) as process:
        proxy = Companion(process, log, ports[0], ports[1] if base_url else None)
        try:
            yield proxy
        finally:
            proxy.kill()


def _process(
    line: Sequence[str], bound: Sequence[socket.socket], log: IO[bytes], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the proxy and leave the sockets to it: once it is gone, nothing listens there."""
    inherited = [each.fileno() for each in bound] if _INHERITS else []
    module = "computer_use_cache.launch.companion_main"
    if not _INHERITS:
        for each in bound:
            each.close()
    # -P: the folder that the program is started in must not lend the proxy its modules. A session of its own: the
    # terminal's signals are for the program.
    process = subprocess.Popen(  # noqa: S603  # ours
        [sys.executable, "-P", "-m", module, ",".join(map(str, inherited)), *line],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        pass_fds=inherited,
        env=os.environ | environment,
    )
    for each in bound:
        each.close()
    return process


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return b"\n".join(log.read().splitlines()[-20:]).decode("utf-8", "replace").strip()
