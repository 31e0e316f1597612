"""`start --workers N`: processes that share one port and one store; one that dies is replaced.

The port is shared by SO_REUSEPORT: the kernel gives each connection to one worker. This process only watches; the
workers end with it, whatever ends it, because each reads a pipe whose other end only this process holds.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from computer_use_cache.errors import CacheError

logger = logging.getLogger(__name__)

_SHORT_LIFE_SECONDS = 5.0
"""A worker that dies sooner than this probably has a problem that the next one will have too."""
_LONGEST_REST_SECONDS = 10.0
_START_SECONDS = 30.0


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps the port (a free one for 0) for this user's workers, though nothing listens on it.

    Raises CacheError where ports cannot be shared, or this one is taken.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise CacheError("WORKERS: processes cannot share a port on this system; run one")
    family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    kept = socket.socket(family, kind)
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(place)
    except OSError as error:
        kept.close()
        raise CacheError(f"PORT: cannot listen on {host}:{port}: {error}; give another --port") from None
    return kept


class Supervisor:
    """Keeps `number` workers running, each with the command line `line` of mitmdump, until a signal ends them."""

    def __init__(self, line: Sequence[str], number: int) -> None:
        self._command = [sys.executable, "-m", "computer_use_cache.launch.worker_main", *line]
        self._number = number
        self._workers: list[tuple[subprocess.Popen[bytes], float]] = []
        self._short_lives = 0
        self._ending = threading.Event()

    def run(self, place: tuple[str, int]) -> int:
        """Start the first worker, and the others once it listens at `place`; returns when all have ended, with the
        exit status: 0 after a signal, 1 when no worker can live."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        self._start()
        if not self._listens(place):
            return self._stop(1)
        while not self._ending.is_set():
            while len(self._workers) < self._number and not self._ending.is_set():
                self._start()
            self._ending.wait(0.2)
            if not self._bury():
                return self._stop(1)
        return self._stop(0)

    def _end(self, signum: int, frame: FrameType | None) -> None:
        """Passes every signal on. At the second one, workers drop the requests that they are still finishing."""
        self._ending.set()
        for worker, _ in self._workers:
            if worker.poll() is None:
                worker.terminate()

    def _start(self) -> None:
        # In a session of its own, so that a terminal's Ctrl-C only reaches this process, which passes it on once.
        environment = os.environ | {"WORKERS": str(self._number)}
        worker = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environment, start_new_session=True)  # noqa: S603  # ours
        self._workers.append((worker, time.monotonic()))

    def _listens(self, place: tuple[str, int]) -> bool:
        """Wait until the first worker listens. It creates the folder and the certificates, which the others then
        find."""
        limit = time.monotonic() + _START_SECONDS
        worker, _ = self._workers[0]
        while worker.poll() is None and time.monotonic() < limit and not self._ending.is_set():
            try:
                socket.create_connection(place, timeout=1.0).close()
            except OSError:
                self._ending.wait(0.05)
            else:
                return True
        return self._ending.is_set()

    def _bury(self) -> bool:
        """Forget dead workers, and pause before they are replaced. False if no worker lives long."""
        dead = [(worker, born) for worker, born in self._workers if worker.poll() is not None]
        self._workers = [(worker, born) for worker, born in self._workers if worker.poll() is None]
        for worker, born in dead:
            if self._ending.is_set():
                continue
            age = time.monotonic() - born
            self._short_lives = self._short_lives + 1 if age < _SHORT_LIFE_SECONDS else 0
            logger.warning("worker %d ended with status %d after %.0f s", worker.pid, worker.returncode, age)
            if self._short_lives > 2 * self._number and not self._workers:
                logger.error("no worker lives longer than %.0f s: see the log above", _SHORT_LIFE_SECONDS)
                return False
            if self._short_lives:
                self._ending.wait(min(0.1 * 2**self._short_lives, _LONGEST_REST_SECONDS))
        return True

    def _stop(self, status: int) -> int:
        self._end(signal.SIGTERM, None)
        for worker, _ in self._workers:
            worker.wait()
        return status


def end_with_parent() -> None:
    """In a worker: end, as after SIGTERM, when the process at the other end of standard input is gone."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
