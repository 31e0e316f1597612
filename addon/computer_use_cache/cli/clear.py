"""`clear`, and how commands reach the entries: they ask the running proxy when there is one, and open the store's
folder when there is none."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from computer_use_cache.cli import client
from computer_use_cache.errors import StoreError
from computer_use_cache.formats.base import Json
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Choice, Store
from computer_use_cache.store.opening import open_store

url_option = click.option("--url", help="The proxy to ask, such as http://127.0.0.1:8000; by default HOST and PORT.")


@click.command()
@click.option("--model", help="Only entries of this model.")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="SECONDS", help="Only entries recorded before.")
@click.option("--namespace", help="Only entries of this namespace.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
def clear(model: str | None, older_than: float | None, namespace: str | None, yes: bool, url: str | None) -> None:
    """Remove all entries, or those that every given option matches."""
    settings = Settings.load(os.environ)
    given = {"model": model, "older_than": older_than, "namespace": namespace}
    wish = {name: value for name, value in given.items() if value is not None}
    health = health_of(url, settings)
    folder = health["cache"]["cache_dir"] if health else settings.store_place
    if not yes:
        which = ", ".join(f"{name} {value}" for name, value in wish.items()) or "all"
        click.confirm(f"Remove entries ({which}) of {folder}? (--yes does not ask)", abort=True, err=True)
    if health:
        deleted = client.clear(_place(url, settings), wish, settings)
    else:
        with opened_store(settings) as store:
            before = None if older_than is None else time.time() - older_than
            deleted = store.clear(Choice(model, namespace, before) if wish else None)
    click.echo(f"Removed {deleted} entries of {folder}.")


def _place(url: str | None, settings: Settings) -> str:
    return url.rstrip("/") if url else client.address(settings)


def health_of(url: str | None, settings: Settings) -> Json | None:
    """What `/healthz` answers at `url`, or at HOST and PORT: there None where no proxy runs. Raises ClickException."""
    health = client.health(_place(url, settings), settings)
    if url and not health:
        raise click.ClickException(f"no cache answers at {url}; start one, or leave --url out to read the folder")
    return health


@contextlib.contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store that the settings name, for as long as it is used. Raises StoreError when there is none yet."""
    folder = Path(settings.dir)
    if settings.store_url == "disk" and not folder.is_dir():
        where = client.address(settings)
        raise StoreError(f"no cache answers at {where} and there is no folder {folder}; start one, or set CACHE_DIR")
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()
