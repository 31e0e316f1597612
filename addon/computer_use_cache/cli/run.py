"""`run`: runs one command behind a private proxy. The command keeps its own streams, signals and exit status."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

import click
from msgspec.structs import replace

from computer_use_cache.cli import call_lines, options
from computer_use_cache.errors import CacheError
from computer_use_cache.launch import companion, environment, trust
from computer_use_cache.launch.companion import Companion
from computer_use_cache.run_models import LineStyle, Run
from computer_use_cache.runs import new_run
from computer_use_cache.settings import Settings

_NOT_FOUND = 127
_FORWARDED = ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
_OF_THE_TERMINAL = ("SIGINT", "SIGQUIT")
"""What a terminal sends to every process in its foreground, the command included."""
_NODE = ("node", "npx", "npm", "pnpm", "yarn")


@click.command("run", context_settings={"allow_interspersed_args": False})
@options.setting_flags(address=False)
@click.option(
    "--base-url", is_flag=True, help="Also point OPENAI_BASE_URL and the like at a cache in front of --upstream."
)
@click.option("-v", "--verbose", is_flag=True, help="Print a line per call to standard error.")
@click.option("--log-json", is_flag=True, help="Print these lines as JSON.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(
    *,
    base_url: bool,
    verbose: bool,
    log_json: bool,
    pairs: tuple[str, ...],
    command: tuple[str, ...],
    **flags: str | None,
) -> int:
    """Run COMMAND with its model calls cached.

    COMMAND may call any provider. A private proxy runs until it exits; environment variables point COMMAND at the proxy
    and its certificates. Calls to CACHE_HOSTS are cached, all others pass through untouched. The exit status is the
    command's.
    """
    settings, texts, own = options.given(flags, pairs, options.of_run())
    program = shutil.which(command[0])
    if program is None:
        click.echo(f"Error: {command[0]} was not found, or is not executable", err=True)
        return _NOT_FOUND
    if not base_url and (version := _blind_node(program)):
        click.echo(
            f"computer-use-cache: Node {version} ignores proxy variables; unless the program reads them itself, "
            "use Node 24, `run --base-url`, or mitmproxy's `--mode local:`",
            err=True,
        )
    run = new_run.new_run(command, time.time(), bindings=environment.bindings())
    run = replace(run, flags=options.shown(flags), base_url=base_url)
    lines = call_lines.style(sys.stderr, is_wanted=verbose, as_json=log_json)
    return run_recorded(command, run, settings, texts, own, lines=lines)


def run_recorded(
    command: Sequence[str],
    run: Run,
    settings: Settings,
    texts: Mapping[str, str],
    own: Sequence[str],
    *,
    answer: str = "",
    lines: LineStyle = LineStyle.NONE,
    stdout: IO[bytes] | None = None,
) -> int:
    """Run a command behind a private proxy, which gets these settings as `launcher.arguments` takes them. Records its
    calls in `run`, and prints a summary at the end. Returns the command's exit status.

    `answer` and `lines` are as in `companion.running`. The command writes to `stdout`, by default this process's own.
    """
    proxied = companion.running(settings, texts, own, base_url=run.base_url, run=run.id, answer=answer, lines=lines)
    with proxied as proxy:
        from computer_use_cache.cli import run_summary  # noqa: PLC0415  # takes a while: the proxy loads meanwhile

        before = run_summary.take(settings, run)
        if own or before.fault or not proxy.may_be_used_at_once:
            proxy.wait()
        variables = dict(os.environ) | environment.proxied(proxy.port, trust.files(proxy.folder), os.environ)
        if proxy.base_port:
            variables |= environment.base_urls(f"http://127.0.0.1:{proxy.base_port}")
        status = _run(command, variables, stdout, proxy)
        proxy.check()
        log = proxy.end()
    if log:
        click.echo(log, err=True)
    run = replace(run, ended=time.time(), status=status)
    for line in run_summary.lines(before, run_summary.take(settings, run), run):
        click.echo(line, err=True)
    return status


def _run(command: Sequence[str], variables: dict[str, str], stdout: IO[bytes] | None, proxy: Companion) -> int:
    """The exit status of the command, 128 + N where signal N ended it. It is ended if its proxy does not start."""
    try:
        process = subprocess.Popen(command, env=variables, stdout=stdout)  # noqa: S603  # it is what the user asked for
    except OSError as error:
        raise CacheError(f"{command[0]} cannot be run: {error.strerror}") from None

    def forward(number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name not in _OF_THE_TERMINAL or not _in_foreground():
            process.send_signal(number)

    for name in _FORWARDED:
        number = getattr(signal, name, None)  # Windows has few
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, forward)
    proxy.when_failed(process.terminate)
    status = process.wait()
    return 128 - status if status < 0 else status


def _in_foreground() -> bool:
    """Whether this process group is the one that its terminal's keys interrupt."""
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _blind_node(program: str) -> str | None:
    """The version of Node that runs this program, if it has no NODE_USE_ENV_PROXY."""
    with contextlib.suppress(OSError), open(program, "rb") as file:
        first = file.readline(200)
        node = program if Path(program).stem == "node" else shutil.which("node")
        by_node = Path(program).stem in _NODE or (first.startswith(b"#!") and b"node" in first)
        if node and by_node:
            done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
            if found := re.match(r"v(([0-9]+)\.([0-9]+)\S*)", done.stdout):
                major, minor = int(found[2]), int(found[3])
                return None if major >= 24 or (major == 22 and minor >= 21) else found[1]
    return None
