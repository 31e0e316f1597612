"""`report`: a run, or two beside each other, as one HTML file."""

from __future__ import annotations

import os
import re
import webbrowser
from pathlib import Path

import click
from rich.console import Console

from computer_use_cache.cli.chosen_run import chosen_run
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.report import build, render
from computer_use_cache.runs.finding import LAST
from computer_use_cache.settings import Settings

_MOST_RUNS = 2


class _Pattern(click.ParamType[re.Pattern[str]]):
    name = "pattern"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> re.Pattern[str]:
        try:
            return re.compile(value)
        except re.error as error:
            self.fail(f"not a regular expression: {error}", param, ctx)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it; by default run-ID.html in this folder.",
)
@click.option("--open", "opens", is_flag=True, help="Show it in the browser.")
@click.option("--no-media", is_flag=True, help="Leave the pictures out.")
@click.option(
    "--redact",
    multiple=True,
    type=_Pattern(),
    metavar="PATTERN",
    help="Replace what matches in all texts; repeatable.",
)
def report(
    *, runs: tuple[str, ...], output: Path | None, opens: bool, no_media: bool, redact: tuple[re.Pattern[str], ...]
) -> None:
    """Write a run as a page, with its screenshots and clicks.

    Each step shows its screenshot, what the model did on it, and why a call was a miss. RUN is an id, its beginning,
    `last` (the default), or `last~1` for the one before. Two runs are shown beside each other. The page is one file
    that loads nothing from anywhere. It holds all texts and pictures, but no credentials.
    """
    if len(runs) > _MOST_RUNS:
        raise click.UsageError("a page shows one run or two")
    settings = Settings.load(os.environ)
    with opened_store(settings) as store, Console(stderr=True).status("Reading the calls and their pictures"):
        chosen = [chosen_run(store.run_log, name) for name in runs or (LAST,)]
        page = build.build(store, chosen, redact=redact, with_media=not no_media, masks=settings.image_mask)
    path = output or Path(f"run-{'-'.join(run.id for run in chosen)}.html")
    try:
        with path.open("wb") as file:
            render.write(page, file)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    click.echo(f"{path} ({path.stat().st_size / 1e6:,.1f} MB)")
    if opens:
        webbrowser.open(path.resolve().as_uri())
