"""`import`: fills the cache from recordings. The addon does the same with the file that CACHE_DB_PATH names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cli.progress import with_count
from computer_use_cache.errors import FormatError
from computer_use_cache.setting_values import is_loopback
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from computer_use_cache.transfer import original_tool, parallel, recordings
from computer_use_cache.transfer.recordings import Kind, Read, Summary
from computer_use_cache.units import counted

_MOST_NAMED = 20


@click.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="FILE|FOLDER...", type=click.Path(True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_recordings(sources: tuple[Path, ...], as_json: bool) -> None:
    """Fill the cache from recorded traffic.

    Sources are exports, mitmproxy's flow files, HAR files, and the stores of the original tool (its SQLite file and its
    npm cache folder, whose answers are assumed to come from UPSTREAM_BASE_URL). What would not have been stored live
    is skipped. An answer keeps the time of its recording, and its TTL runs from then; an exported one expires when its
    line says. A stored entry is never replaced by an older one.
    """
    settings = Settings.load(os.environ)
    unreadable: list[str] = []
    store = open_store(settings)
    try:
        cache = recordings.importing_cache(settings, store, loopback=is_loopback(settings.host))
        read = with_count(_read_all(sources, cache, unreadable), "recordings read")
        summary = recordings.keep_all(cache, read, time.time())
    finally:
        store.close()
    if as_json:
        result = {
            "imported": summary.kept,
            "runs": summary.runs,
            "skipped": summary.skipped,
            "cache_dir": settings.store_place,
        }
        click.echo(
            json.dumps(result | {"damaged": [asdict(each) for each in summary.damaged], "unreadable": unreadable})
        )
    else:
        _print(summary, settings)
    if unreadable:
        raise click.ClickException("; ".join(unreadable))


def _read_all(sources: tuple[Path, ...], cache: Cache, unreadable: list[str]) -> Iterator[Read]:
    for path in sources:
        try:
            yield from _read(path, cache)
        except FormatError as error:
            unreadable.append(str(error))


def _read(path: Path, cache: Cache) -> Iterator[Read]:
    kind, settings = recordings.kind_of(path), cache.settings
    if kind is Kind.EXPORT:
        return parallel.read(path, cache, os.environ)
    recordings.check_shared(settings, loopback=is_loopback(settings.host))
    if kind is Kind.ORIGINAL:
        return original_tool.read(path, str(settings.upstream_base_url))
    # mitmproxy takes half a second to import, which nothing else must wait for.
    from computer_use_cache.proxy import captures  # noqa: PLC0415

    return captures.read_har(path, settings) if kind is Kind.HAR else captures.read_flow_file(path, settings)


def _print(summary: Summary, settings: Settings) -> None:
    runs = f" and {counted(summary.runs, 'run', 'runs')}" if summary.runs else ""
    click.echo(f"Imported {counted(summary.kept, 'entry', 'entries')}{runs} into {settings.store_place}.")
    for reason, count in sorted(summary.skipped.items()):
        click.echo(f"Skipped {count}: {reason}")
    for each in summary.damaged[:_MOST_NAMED]:
        click.echo(f"Damaged: {each.where}: {each.why}")
    if len(summary.damaged) > _MOST_NAMED:
        click.echo(f"Damaged: {len(summary.damaged) - _MOST_NAMED} more, which --json lists.")
