"""`export`: writes the cache to a file that people can read and a repository can hold."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from computer_use_cache.cli.clear import opened_store
from computer_use_cache.cli.progress import counted
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Choice
from computer_use_cache.transfer import jsonl


@click.command("export")
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", help="Only entries of this model.")
@click.option("--namespace", help="Only entries of this namespace.")
def export_entries(path: Path | None, model: str | None, namespace: str | None) -> None:
    """Write the entries as JSON lines to PATH, or to standard output; `import` reads them back.

    There is one entry per line, sorted by key, so the same entries give the same bytes. The file holds prompts and
    answers unchanged, but no credentials. Each entry keeps the time at which it expires; one that was recorded with
    CACHE_TTL_SECONDS=0 never does.
    """
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        content = jsonl.lines(store, Choice(model, namespace), time.time())
        if path is None:
            for line in content:
                click.echo(line, nl=False)
            return
        try:
            count = jsonl.write(path, counted(content, "entries written"))
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"Exported {count} entries to {path}.")
