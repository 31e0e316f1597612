"""`runs`: the runs that are recorded, the newest first."""

from __future__ import annotations

import json
import os
import time

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from computer_use_cache.cli.clear import opened_store
from computer_use_cache.run_models import Run
from computer_use_cache.runs import as_json
from computer_use_cache.runs.lines import printable
from computer_use_cache.runs.totals import Totals, totals
from computer_use_cache.settings import Settings
from computer_use_cache.units import dollars


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, metavar="N", help="How many, at most.  [20]")
@click.option("--json", "to_json", is_flag=True, help="Print JSON.")
def runs(limit: int, to_json: bool) -> None:
    """List the runs, the newest first. Other commands accept a run's id, the beginning of it, `last`, or `last~1`."""
    with opened_store(Settings.load(os.environ)) as store:
        found = [(run, totals(store.run_log.calls(run.id))) for run in store.run_log.runs(limit)]
    if to_json:
        click.echo(json.dumps([as_json.of_run(*each) for each in found]))
    elif found:
        Console(highlight=False).print(_table(found))
    else:
        click.echo("No run is recorded yet. Record one with: computer-use-cache run -- COMMAND")


def _table(found: list[tuple[Run, Totals]]) -> Table:
    numbers = [Column(name, justify="right", no_wrap=True) for name in ("calls", "hits", "misses", "saved", "exit")]
    texts = (Column("run", no_wrap=True), Column("began", no_wrap=True), Column("what", overflow="fold"))
    table = Table(*texts, *numbers, box=SIMPLE, pad_edge=False)  # without borders, the names have room in 80 columns
    for run, sums in found:
        began = time.strftime("%m-%d %H:%M", time.localtime(run.began))
        saved = dollars(sums.saved_usd) if sums.saved_usd or sums.priced else "?"
        status = "" if run.status is None else str(run.status)
        counts = (f"{number:,}" for number in (sums.calls, sums.hits, sums.misses))
        name = printable(f"{run.name} ({run.origin})" if run.origin else run.name)
        table.add_row(run.id, began, Text(name), *counts, saved, status)
    return table
