"""`clear`, and how commands reach the entries: through the running proxy if there is one, else by opening the store."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from computer_use_cache.cli import client
from computer_use_cache.cli.progress import working
from computer_use_cache.errors import StoreError
from computer_use_cache.formats.base import Json
from computer_use_cache.runs.finding import UnknownRun, find
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Choice, Store
from computer_use_cache.store.opening import open_store
from computer_use_cache.units import counted

url_option = click.option("--url", help="The proxy to ask, such as http://127.0.0.1:8000; by default HOST and PORT.")


@click.command()
@click.option("--key", metavar="KEY", help="Only this entry; the next identical call goes upstream.")
@click.option("--run", metavar="RUN", help="Only what is known about this run; entries stay.")
@click.option("--model", help="Only entries of this model.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="SECONDS", help="Only entries recorded longer ago than this."
)
@click.option("--namespace", help="Only entries of this namespace.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
def clear(
    *,
    key: str | None,
    run: str | None,
    model: str | None,
    older_than: float | None,
    namespace: str | None,
    yes: bool,
    url: str | None,
) -> None:
    """Remove all entries and runs, or those that are named.

    With several options, only entries that match all of them. Asks first on a terminal.
    """
    settings = Settings.load(os.environ)
    given = {"model": model, "older_than": older_than, "namespace": namespace}
    chosen: Json = {name: value for name, value in given.items() if value is not None}
    if key is not None and (chosen or run):
        raise click.UsageError("--key names one entry: leave the other options out")
    if run is not None and chosen:
        raise click.UsageError("--run names one run: leave the other options out")
    health = health_of(url, settings)
    folder = health["cache"].get("cache_dir", settings.store_place) if health else settings.store_place
    place = _place(url, settings) if health else None
    if not yes and sys.stdin.isatty():
        conditions = chosen | ({"key": key} if key else {})
        which = ", ".join(f"{name} {value}" for name, value in conditions.items()) or "all"
        what = f"the run {run}" if run else f"entries ({which})"
        click.confirm(f"Remove {what} of {folder}? (--yes does not ask)", abort=True, err=True)
    if run is not None:
        removed = f"the run {_clear_run(run, place, settings)}"
    elif key is not None:
        _reject(key, place, settings)
        removed = "the entry"
    else:
        removed = counted(_clear_entries(chosen, place, settings), "entry", "entries")
    click.echo(f"Removed {removed} from {folder}.")


def _clear_entries(chosen: Json, place: str | None, settings: Settings) -> int:
    """Remove the entries that meet all conditions, through the proxy at `place` if there is one. Returns how many."""
    with working("removing entries"):
        if place:
            return client.clear(place, chosen, settings)
        with opened_store(settings) as store:
            older_than = chosen.get("older_than")
            before = None if older_than is None else time.time() - float(older_than)
            return store.clear(Choice(chosen.get("model"), chosen.get("namespace"), before) if chosen else None)


def _clear_run(name: str, place: str | None, settings: Settings) -> str:
    """Remove a run, through the proxy at `place` if there is one; its id. Raises UsageError if there is no such run."""
    try:
        if place:
            return client.clear_run(place, name, settings)
        with opened_store(settings) as store:
            run = find(store.run_log, name)
            store.run_log.delete_run(run.id)
            return run.id
    except UnknownRun as error:
        raise click.UsageError(str(error)) from None


def _reject(key: str, place: str | None, settings: Settings) -> None:
    """Remove one entry, through the proxy at `place` if there is one. Raises ClickException if there is no entry."""
    if place:
        removed = client.reject(place, key, settings)
    else:
        with opened_store(settings) as store:
            removed = store.delete(key)
    if not removed:
        raise click.ClickException(f"there is no entry {key}; a response names its own in X-Computer-Use-Cache-Key")


def _place(url: str | None, settings: Settings) -> str:
    return url.rstrip("/") if url else client.address(settings)


def health_of(url: str | None, settings: Settings) -> Json | None:
    """What `/healthz` answers at `url`, or else at HOST and PORT, where None means that no proxy runs. Raises
    ClickException."""
    health = client.health(_place(url, settings), settings)
    if url and not health:
        raise click.ClickException(f"no cache answers at {url}; start one, or leave --url out to read the folder")
    return health


@contextlib.contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store that the settings name, for as long as it is used. Raises StoreError if it does not exist yet."""
    folder = Path(settings.dir)
    if settings.store_url == "disk" and not folder.is_dir():
        raise StoreError(f"there is no store in {folder}: run this where the cache was started, or set CACHE_DIR")
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()
