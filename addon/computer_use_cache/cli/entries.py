"""`stats` and `clear`: they ask the running proxy when there is one, and open the store's folder when there is none."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from computer_use_cache.cli import running
from computer_use_cache.errors import StoreError
from computer_use_cache.formats.base import Json
from computer_use_cache.ledger import Ledger
from computer_use_cache.settings import Settings
from computer_use_cache.store import Choice, Store
from computer_use_cache.store.opening import open_store

_url_option = click.option("--url", help="The proxy to ask, such as http://127.0.0.1:8000; by default HOST and PORT.")


@click.command()
@_url_option
@click.option("--json", "as_json", is_flag=True, help="Print what /cache/stats answers.")
def stats(url: str | None, as_json: bool) -> None:
    """Print what the cache holds and what it did."""
    settings = Settings.load(os.environ)
    if health := _health(url, settings):
        counted: Json = health["cache"]
    else:
        with opened_store(settings) as store:
            counted = Ledger(store).statistics(settings, time.time())
    if as_json:
        click.echo(json.dumps(counted))
    else:
        _print_stats(counted)


@click.command()
@click.option("--model", help="Only entries of this model.")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="SECONDS", help="Only entries recorded before.")
@click.option("--namespace", help="Only entries of this namespace.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_url_option
def clear(model: str | None, older_than: float | None, namespace: str | None, yes: bool, url: str | None) -> None:
    """Remove all entries, or those that every given option matches."""
    settings = Settings.load(os.environ)
    given = {"model": model, "older_than": older_than, "namespace": namespace}
    wish = {name: value for name, value in given.items() if value is not None}
    health = _health(url, settings)
    folder = health["cache"]["cache_dir"] if health else settings.store_place
    if not yes:
        which = ", ".join(f"{name} {value}" for name, value in wish.items()) or "all"
        click.confirm(f"Remove entries ({which}) of {folder}? (--yes does not ask)", abort=True, err=True)
    if health:
        deleted = running.clear(_place(url, settings), wish, settings)
    else:
        with opened_store(settings) as store:
            before = None if older_than is None else time.time() - older_than
            deleted = store.clear(Choice(model, namespace, before) if wish else None)
    click.echo(f"Removed {deleted} entries of {folder}.")


def _place(url: str | None, settings: Settings) -> str:
    return url.rstrip("/") if url else running.address(settings)


def _health(url: str | None, settings: Settings) -> Json | None:
    health = running.health(_place(url, settings), settings)
    if url and not health:
        raise click.ClickException(f"no cache answers at {url}; start one, or leave --url out to read the folder")
    return health


@contextlib.contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store that the settings name, for as long as it is used. Raises StoreError when there is none yet."""
    folder = Path(settings.dir)
    if settings.store_url == "disk" and not folder.is_dir():
        where = running.address(settings)
        raise StoreError(f"no cache answers at {where} and there is no folder {folder}; start one, or set CACHE_DIR")
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def _print_stats(counted: Json) -> None:
    console = Console()
    totals = Table(show_header=False, box=None)
    for name, value in counted.items():
        match name, value:
            case "hit_rate", float():
                totals.add_row("hit rate", f"{value:.1%}")
            case "last_updated_at", int() | float():
                totals.add_row("last stored", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value)))
            case "models" | "last_updated_at", _:
                pass
            case "bypasses", dict():
                totals.add_row("bypasses", ", ".join(f"{reason}: {count}" for reason, count in value.items()) or "0")
            case _:
                totals.add_row(name.replace("_", " "), str(value))
    console.print(totals)
    if counted["models"]:
        models = Table("model", "hits", "misses")
        for model, counts in counted["models"].items():
            models.add_row(model, str(counts["hits"]), str(counts["misses"]))
        console.print(models)
