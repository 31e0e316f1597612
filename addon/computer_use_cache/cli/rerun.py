"""What `replay` and `fork` share: running a recorded command again, in its folder and with its settings."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click
from msgspec.structs import replace

from computer_use_cache.cli import drifts, options
from computer_use_cache.cli.chosen_run import chosen_run
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.cli.run import run_recorded
from computer_use_cache.credentials.redaction import HIDDEN
from computer_use_cache.diagnosis import miss_log
from computer_use_cache.errors import CacheError
from computer_use_cache.launch import environment
from computer_use_cache.run_models import Call, Run
from computer_use_cache.runs import drift, new_run
from computer_use_cache.runs.drift import Drift
from computer_use_cache.runs.lines import printable
from computer_use_cache.setting_values import Mode
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import RunLog

consent = click.option("--yes", is_flag=True, help="Run the command of an imported run without asking.")


@dataclass(frozen=True, slots=True)
class Rerun:
    """A recorded run with its calls, and the `new` run that repeats its command. The rest is as in
    `run.run_recorded`."""

    recorded: Run
    calls: Sequence[Call]
    new: Run
    settings: Settings
    texts: Mapping[str, str]
    own: Sequence[str]

    def run(self, *, answer: str = "", as_json: bool) -> int:
        """Print the command and run it. Returns its exit status. With `as_json`, its output goes to standard error."""
        with opened_store(self.settings) as store:
            store.run_log.add_run(self.new)  # the proxy reads its forks from there
        stdout = sys.stderr.buffer if as_json else None
        command = self.recorded.command
        click.echo(f"$ {printable(shlex.join(command))}   # in {printable(os.getcwd())}", err=True)
        return run_recorded(command, self.new, self.settings, self.texts, self.own, answer=answer, stdout=stdout)

    def drifts(self) -> tuple[list[Call], list[Drift]]:
        """The calls of the new run, and where it left the recorded one."""
        with opened_store(self.settings) as store:
            calls = store.run_log.calls(self.new.id)
            return calls, list(drift.drifts(self.calls, calls, miss_log.near_misses(store, self.new.began)))


def prepare(
    name: str,
    flags: Mapping[str, str | None],
    pairs: Sequence[str],
    mode: Mode,
    *,
    base_url: bool,
    yes: bool,
    here: bool = False,
) -> Rerun:
    """The run called `name`, ready to be repeated. This process enters the run's folder, or stays `here`. `flags` and
    `pairs` are as in `options.given`. With `yes`, an imported command is run without asking. Raises CacheError and
    click.Abort."""
    settings, _, _ = options.given(flags, pairs)
    with opened_store(settings) as store:
        recorded = _origin(store.run_log, chosen_run(store.run_log, name))
        calls = store.run_log.calls(recorded.id)
    if not recorded.command:
        raise CacheError(f"run {recorded.id} has no command to run again: it was recorded behind `start`")
    if any(HIDDEN in word for word in recorded.command):
        raise CacheError(f"the command of run {recorded.id} held a credential, which was not kept; use `run` again")
    if recorded.imported and not yes:
        _ask(recorded)
    place = {"dir": os.path.abspath(settings.dir), "store_url": settings.store_url, "mode": str(mode)}
    try:
        os.chdir("." if here else recorded.folder)
    except OSError as error:
        raise CacheError(f"the folder of run {recorded.id} cannot be entered: {error}") from None
    given = {**recorded.flags, **{flag: text for flag, text in flags.items() if text is not None}, **place}
    settings, texts, own = options.given(given, pairs, options.of_run())
    new = replace(
        new_run.new_run(recorded.command, time.time(), parent=recorded.id, bindings=environment.bindings()),
        flags=recorded.flags,
        base_url=base_url or recorded.base_url,
        forks=recorded.forks,
    )
    return Rerun(recorded, calls, new, settings, texts, own)


def _origin(log: RunLog, run: Run) -> Run:
    """The run itself, or the one that it is a replay of: a replay that drifted lacks calls."""
    while run.parent and not run.is_fork and (parent := log.run(run.parent)) and parent.began < run.began:
        run = parent
    return run


def _ask(run: Run) -> None:
    """Ask whether to run a command that somebody else wrote."""
    flags = [f"{name}={text}" for name, text in run.flags.items()]
    command = printable(shlex.join(run.command) + (f" (with {', '.join(flags)})" if flags else ""))
    if not sys.stdin.isatty():
        raise CacheError(f"run {run.id} was imported; --yes runs its command: {command}")
    click.confirm(f"Run {run.id} was imported. Run its command: {command}", abort=True, err=True)


def print_drifts(found: Sequence[Drift]) -> None:
    """Print drifts on standard error."""
    for one in found:
        for line in drifts.lines(one):
            click.echo(f"  {printable(line)}", err=True)
