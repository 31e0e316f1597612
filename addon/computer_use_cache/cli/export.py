"""`export`: writes the cache to a file that people can read and a repository can hold."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import click

from computer_use_cache.cli.chosen_run import chosen_run
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.cli.progress import with_count
from computer_use_cache.models import Entry
from computer_use_cache.run_models import Run
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import KEPT_RUNS, Choice, RunLog
from computer_use_cache.transfer import jsonl, run_lines
from computer_use_cache.units import counted


@click.command("export")
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", help="Only entries of this model, and no runs.")
@click.option("--namespace", help="Only entries of this namespace, and no runs.")
@click.option("--run", "run_name", metavar="RUN", help="Only this run, and the entries of its calls.")
def export_entries(path: Path | None, model: str | None, namespace: str | None, run_name: str | None) -> None:
    """Write the entries and the runs as JSON lines.

    They go to PATH, or to standard output; `import` reads them back. There is one entry per line, sorted by key, so the
    same entries give the same bytes; then one run per line. The file holds prompts and answers unchanged, but no
    credentials. Each entry keeps the time at which it expires; one that was recorded with CACHE_TTL_SECONDS=0 never
    does.
    """
    if run_name and (model or namespace):
        raise click.UsageError("--run names one run: leave the other options out")
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        runs, is_chosen = _chosen(store.run_log, Choice(model, namespace), run_name)
        content = chain(jsonl.lines(store, is_chosen, time.time()), run_lines.lines(store.run_log, runs))
        if path is None:
            for line in content:
                click.echo(line, nl=False)
            return
        try:
            count = jsonl.write(path, with_count(content, "lines written"))
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    more = f" and {counted(len(runs), 'run', 'runs')}" if runs else ""
    click.echo(f"Exported {counted(count - len(runs), 'entry', 'entries')}{more} to {path}.")


def _chosen(log: RunLog, choice: Choice, run_name: str | None) -> tuple[list[Run], Callable[[Entry], bool]]:
    """The runs to export, and which entries: one run with its own, the chosen entries alone, or everything."""
    if run_name:
        run = chosen_run(log, run_name)
        keys = {call.key for call in log.calls(run.id)}
        return [run], lambda entry: entry.key in keys
    return log.runs(KEPT_RUNS)[::-1] if choice == Choice() else [], choice
