"""`audit`: repeats a sample of the stored requests upstream, and counts the answers that changed."""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from urllib import error, request

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.cli.progress import with_count
from computer_use_cache.diagnosis.audit import Question, changed, inexact_hits, question
from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.formats.base import Json
from computer_use_cache.models import Entry, Response, Skipped
from computer_use_cache.setting_values import is_loopback
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.units import counted

_AT_ONCE = 4
_NEWEST = 10_000
"""How many entries the sample is taken from: reading a million would take a minute."""
_NEWEST_RUNS = 200


@click.command()
@click.option("--sample", default=20, type=click.IntRange(1, 1000), metavar="N", help="How many to send.  [20]")
@click.option("--inexact", is_flag=True, help="Only hits on pictures whose pixels differed.")
@click.option("--model", help="Only entries of this model.")
@click.option("--yes", is_flag=True, help="Spend the money without asking first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(sample: int, inexact: bool, model: str | None, yes: bool, as_json: bool) -> None:
    """Ask upstream again for a sample, and count what changed.

    The sample is of the stored requests. The store does not change. Requests are left out if their screenshots are not
    stored (because they were imported, the store is shared, or they are among the oldest of a large store) or if their
    upstream is not UPSTREAM_BASE_URL, where UPSTREAM_API_KEY belongs. Ids, times and usage change with every call and
    do not count. A model with a temperature above 0 seldom says the same thing twice.

    With --inexact, it samples last week's hits on pictures whose pixels differed from the recorded ones. It compares
    the answers that were served, and names the rule by which the pictures counted as the same.
    """
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        found = _inexact(store, model) if inexact else _stored(store, settings, model)
        questions, left_out = _sampled(found, sample)
    if not questions:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.items()) or "there are no fresh entries"
        raise click.ClickException(f"no stored request can be asked again ({reasons})")
    if not yes:
        what = f"{counted(len(questions), 'request', 'requests')} to {settings.upstream_base_url}"
        click.confirm(f"Send {what}? Each costs what it cost before. (--yes does not ask)", abort=True, err=True)
    rows = [_row(asked, outcome) for asked, outcome in _asked(questions, settings)]
    counts = Counter(row["outcome"] for row in rows)
    report = {"asked": len(rows), **{name: counts[name] for name in ("same", "changed", "failed")}}
    if as_json:
        click.echo(json.dumps(report | {"left_out": left_out, "requests": rows}))
    else:
        _print_report(report, rows, left_out)


def _sampled(found: Iterable[Question | Skipped], size: int) -> tuple[list[Question], dict[str, int]]:
    """The first requests that can be repeated, and how many before them could not be, by reason."""
    questions, left_out = list[Question](), Counter[str]()
    for each in found:
        if isinstance(each, Skipped):
            left_out[each.detail] += 1
        else:
            questions.append(each)
        if len(questions) == size:
            break
    return questions, dict(left_out)


def _stored(store: Store, settings: Settings, model: str | None) -> Iterator[Question | Skipped]:
    """The stored requests, in a random order."""
    now = time.time()
    newest = with_count(islice(store.entries(), _NEWEST), "entries read")
    keys = [entry.key for entry in newest if _is_meant(entry, model) and entry.is_fresh(now)]
    for key in random.sample(keys, len(keys)):
        entry = store.get(key)
        yield question(store, entry, settings) if entry else Skipped("it was removed meanwhile")


def _inexact(store: Store, model: str | None) -> list[Question | Skipped]:
    """The inexact hits of the last runs, in a random order. Each run is looked up with the values that it had."""
    found: dict[str, Question | Skipped] = {}
    for run in store.run_log.runs(_NEWEST_RUNS):
        bindings = {"CACHE_BIND": run.bindings} if run.bindings else {}
        settings = Settings.load(os.environ | {"CACHE_REBIND": "on"} | bindings)
        cache = Cache(settings, store, loopback=is_loopback(settings.host))
        for number, each in enumerate(inexact_hits(cache, run)):
            if isinstance(each, Skipped) or _is_meant(each.entry, model):
                found.setdefault(f"{run.id} {number}" if isinstance(each, Skipped) else each.entry.key, each)
    return random.sample(list(found.values()), len(found))


def _is_meant(entry: Entry, model: str | None) -> bool:
    return model in (None, entry.model)


def _asked(questions: list[Question], settings: Settings) -> Iterator[tuple[Question, Difference | Skipped | None]]:
    def ask(asked: Question) -> tuple[Question, Difference | Skipped | None]:
        answer = _send(asked, settings.upstream_timeout_seconds)
        return asked, answer if isinstance(answer, Skipped) else changed(asked, answer, settings)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        outcomes = threads.map(ask, questions)
        hidden = not sys.stderr.isatty()
        console = Console(stderr=True)
        yield from track(outcomes, "asking again", len(questions), console=console, transient=True, disable=hidden)


def _send(asked: Question, seconds: float) -> Response | Skipped:
    opener = request.build_opener()  # through the proxy that HTTPS_PROXY names
    sent = request.Request(asked.url, asked.body, asked.headers)  # noqa: S310  # the settings allow http and https only
    started = time.monotonic()
    try:
        with opener.open(sent, timeout=seconds) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status, headers, answer.read(), time.monotonic() - started)
    except error.HTTPError as answer:
        with answer:
            hint = "; set UPSTREAM_API_KEY" if answer.code in (401, 403) else ""
            return Skipped(f"status {answer.code}{hint}")
    except (OSError, http.client.HTTPException) as failure:
        return Skipped(f"no answer: {getattr(failure, 'reason', failure)}")


def _row(asked: Question, outcome: Difference | Skipped | None) -> Json:
    row: Json = {"key": asked.entry.key, "model": asked.entry.model, "recorded_at": asked.entry.created_at}
    if asked.rules:
        row["rules"] = list(asked.rules)
    match outcome:
        case None:
            return row | {"outcome": "same"}
        case Skipped():
            return row | {"outcome": "failed", "reason": outcome.detail}
        case Difference():
            return row | {"outcome": "changed", "difference": asdict(outcome)}


def _print_report(report: Json, rows: list[Json], left_out: dict[str, int]) -> None:
    console = Console(highlight=False)
    console.print(
        f"{report['asked']} asked: {report['same']} same, {report['changed']} changed, {report['failed']} failed"
    )
    table = Table("entry", "model", "outcome", Column("first at", no_wrap=True, overflow="fold"), "now", "recorded")
    for row in rows:
        if row["outcome"] == "changed":
            one = row["difference"]
            texts = (one["path"], one["asked"] or "", one["recorded"] or "")
        else:
            texts = (row.get("reason", ""), "", "")
        if row["outcome"] != "same":
            outcome = " by ".join((row["outcome"], *row.get("rules", ())))
            table.add_row(row["key"][:8], escape(row["model"]), outcome, *map(escape, texts))
    if table.row_count:
        console.print(table)
    for reason, count in left_out.items():
        console.print(f"Left out {count}: {reason}")
