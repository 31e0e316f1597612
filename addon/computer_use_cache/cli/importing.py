"""`import`: fills the cache from recordings. The addon does the same for CACHE_DB_PATH."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from computer_use_cache import legacy
from computer_use_cache.legacy import Recording
from computer_use_cache.models import Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from computer_use_cache.values import is_loopback


@click.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="FILE|FOLDER...", type=click.Path(True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_recordings(sources: tuple[Path, ...], as_json: bool) -> None:
    """Fill the cache from the original tool's stores.

    These are its SQLite file and its npm cache folder. An answer keeps the time it was recorded at, and expires
    counted from then. It is taken to be of the current upstream (UPSTREAM_BASE_URL). Nothing that is stored already
    is replaced by something older.
    """
    settings = Settings.load(os.environ)
    store = open_store(settings)
    try:
        cache = legacy.importing_cache(settings, store, loopback=is_loopback(settings.host))
        recordings = chain.from_iterable(legacy.read(path, str(settings.upstream_base_url)) for path in sources)
        summary = legacy.keep_all(cache, _shown(recordings), time.time())
    finally:
        store.close()
    if as_json:
        click.echo(
            json.dumps({"imported": summary.kept, "skipped": summary.skipped, "cache_dir": settings.store_place})
        )
        return
    click.echo(f"Imported {summary.kept} entries into {settings.store_place} for {settings.upstream_base_url}.")
    for reason, count in sorted(summary.skipped.items()):
        click.echo(f"Skipped {count}: {reason}")


def _shown(recordings: Iterator[Recording | Skipped]) -> Iterator[Recording | Skipped]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield from progress.track(recordings, total=None, description="recordings read")
