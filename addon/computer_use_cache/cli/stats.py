"""`stats`: what the cache holds, what it did, and what that saved. Asks the running proxy, or reads the store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from computer_use_cache import units
from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.accounting.statistics import Book, Hour, ModelStatistics, Statistics
from computer_use_cache.cli import unseen
from computer_use_cache.cli.clear import health_of, opened_store, url_option
from computer_use_cache.settings import Settings
from computer_use_cache.units import dollars, duration

_HOURS = 12
_LONGEST_BAR = 30
_BOOKS = ("saved", "spent")


@click.command()
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print what /cache/stats answers.")
@click.option("--watch", is_flag=True, help="Keep refreshing the numbers, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=2.0,
    metavar="SECONDS",
    help="How often --watch refreshes.  [2]",
)
def stats(url: str | None, as_json: bool, watch: bool, interval: float) -> None:
    """Print what the cache holds, what it did and what that saved."""
    settings = Settings.load(os.environ)
    if watch and as_json:
        raise click.UsageError("--watch is for a terminal: give either --watch or --json")
    if watch and not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal as standard output; leave it out to print the numbers once")
    if watch:
        _watch(url, settings, interval)
    elif as_json:
        click.echo(msgspec.json.encode(_counted(url, settings)))
    else:
        Console(highlight=False).print(_shown(_counted(url, settings)))


def _watch(url: str | None, settings: Settings, interval: float) -> None:
    try:
        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            while True:
                live.update(_shown(_counted(url, settings)), refresh=True)
                time.sleep(interval)
    except KeyboardInterrupt:
        pass  # the way to end --watch


def _counted(url: str | None, settings: Settings) -> Statistics:
    """What `/cache/stats` answers, or would."""
    if health := health_of(url, settings):
        if "error" in health["cache"]:
            raise click.ClickException(health["cache"]["error"])
        return msgspec.convert(health["cache"], Statistics)
    with opened_store(settings) as store:
        return Ledger(store).statistics(settings, time.time())


def _shown(counted: Statistics) -> RenderableType:
    models, parts = counted.models, list[RenderableType]([_totals(counted)])
    if models:
        parts.append(_models(models))
    if not all(model.priced for model in models.values()):
        parts.append("The price of some answers is not known; the sums leave them out.")
    if counted.history:
        parts.append(_history(counted.history[-_HOURS:]))
    return Group(*parts)


def _totals(counted: Statistics) -> Table:
    table = Table(show_header=False, box=None)
    hits, misses = units.counted(counted.hits, "hit", "hits"), units.counted(counted.misses, "miss", "misses")
    others = f"{counted.stale:,} stale, {counted.coalesced:,} coalesced"
    table.add_row("hit rate", f"{counted.hit_rate:.1%} ({hits}, {misses}, {others})")
    for book in _BOOKS:
        total = _total(counted.models.values(), book)
        tokens = f"{units.counted(total.input_tokens, 'token', 'tokens')} in, {total.output_tokens:,} out"
        priced = all(_is_priced(model, book) for model in counted.models.values())
        is_listed = any(model.list_price for model in counted.models.values())
        table.add_row(book, f"{_money_and_time(total, priced, is_listed)}, {tokens}")
    stored_at = counted.last_updated_at
    last = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stored_at)) if stored_at else "never"
    table.add_row("entries", f"{counted.entries:,} ({decimal(counted.bytes)}), last stored: {last}")
    table.add_row("served for", duration(counted.ttl_seconds) if counted.ttl_seconds else "ever")
    table.add_row("place", Text(counted.cache_dir))
    if counted.rebound_hits:
        table.add_row("rebound hits", f"{counted.rebound_hits:,} ({_by_word(counted.rebound)})")
    if counted.not_rebound:
        table.add_row("not rebound", _by_word(counted.not_rebound))
    if counted.refusals:
        table.add_row("refusals", f"{counted.refusals:,}")
    if counted.skips:
        table.add_row("not stored", _by_word(counted.skips))
    if counted.studies_put_off:
        became = f"{counted.studies_made_up:,} made up for, {counted.studies_dropped:,} dropped"
        table.add_row("studies put off", f"{counted.studies_put_off:,} ({became})")
    table.add_row("bypasses", _by_word(counted.bypasses) or "0")
    for line in unseen.lines(counted.unseen):
        table.add_row("", line)
    return table


def _by_word(counts: dict[str, int]) -> str:
    return ", ".join(f"{word}: {count:,}" for word, count in counts.items())


def _total(models: Iterable[ModelStatistics], book: str) -> Book:
    """The sum of a book, "saved" or "spent", over all models."""
    books: list[Book] = [getattr(model, book) for model in models]
    return Book(
        sum(one.input_tokens for one in books),
        sum(one.output_tokens for one in books),
        sum(one.usd or 0.0 for one in books),
        sum(one.seconds for one in books),
    )


def _is_priced(model: ModelStatistics, book: str) -> bool:
    """Whether the price of everything in a model's book is known; an empty one costs nothing."""
    return model.priced or getattr(model, book) in (Book(), Book(usd=None))


def _money_and_time(book: Book, priced: bool, is_listed: bool) -> str:
    money = dollars(book.usd or 0.0)
    if not priced:
        money = f"> {money}" if book.usd else "price unknown"
    if is_listed and book.usd:
        money += " (list price)"
    return f"{money}, {duration(book.seconds)}"


def _models(models: dict[str, ModelStatistics]) -> Table:
    """A row per model, the most used first."""
    table = Table()
    table.add_column("model", overflow="fold")
    for heading in ("hits", "misses", *_BOOKS):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, model in sorted(models.items(), key=lambda item: -(item[1].hits + item[1].misses)):
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)  # a client may have sent anything
        books = (_money_and_time(getattr(model, book), _is_priced(model, book), model.list_price) for book in _BOOKS)
        table.add_row(Text(shown), f"{model.hits:,}", f"{model.misses:,}", *books)
    return table


def _history(hours: list[Hour]) -> Table:
    """A bar per hour, as long as there were requests, filled as far as they were hits."""
    table = Table("hour", box=None)
    for heading in ("hits", "misses"):
        table.add_column(heading, justify="right")
    table.add_column("")
    most = max(hour.hits + hour.misses for hour in hours)
    for hour in hours:
        asked = hour.hits + hour.misses
        bar = ProgressBar(total=asked, completed=hour.hits, width=max(1, round(_LONGEST_BAR * asked / most)))
        start = time.strftime("%m-%d %H:%M", time.localtime(hour.start))
        table.add_row(start, f"{hour.hits:,}", f"{hour.misses:,}", bar)
    return table
