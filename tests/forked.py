"""Programs in processes that are forked from one in which mitmproxy has been imported already.

Nearly all of the second that a proxy takes to start is spent on imports, and the tests start hundreds of proxies.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.reduction import DupFd
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "mitmproxy.tools.main",
        "mitmproxy.tools.dump",
        "computer_use_cache.proxy.addon",
        "computer_use_cache.launch.master",
    ]
)

type Program = Callable[[Sequence[str]], object]
"""Takes a command line without the program's name; what it returns is the exit status if it is a number."""


class Forked:
    """A running program, with the methods of subprocess.Popen that tests use. What it prints is in `stdout`."""

    def __init__(self, program: Program, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        readable, writable = os.pipe()
        self.stdout = os.fdopen(readable, errors="replace")
        # The pipe's end is sent to the new process while `start` runs.
        self._process = _FORKS.Process(target=_run, args=(program, list(arguments), dict(environment), _Pipe(writable)))
        self._process.start()
        os.close(writable)

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid
        return pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            # The fork server reaps a process before it reports its exit, so it may be gone although `poll` says None.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Pipe:
    """A descriptor that is duplicated into the process that this object is sent to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (DupFd(self._descriptor),)


def _detached(duplicate: Any) -> int:
    descriptor: int = duplicate.detach()
    return descriptor


def _run(program: Program, arguments: list[str], environment: dict[str, str], output: int) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["mitmdump", *arguments]
    sys.exit(program(arguments))


def mitmdump(arguments: Sequence[str]) -> object:
    """Stock mitmdump."""
    from mitmproxy.tools.main import mitmdump as tool  # noqa: PLC0415  # the tests of the core run without mitmproxy

    return tool(arguments)


def lean_mitmdump(arguments: Sequence[str]) -> int:
    """What `start` runs, with mitmdump's own command line."""
    from computer_use_cache.launch import launcher  # noqa: PLC0415

    return launcher.mitmdump(arguments, shares_port=False)
