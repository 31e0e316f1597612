"""`explain`: why a request would be a miss, or what recent misses have in common."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from computer_use_cache import formats
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cli import settings_file
from computer_use_cache.cli.chosen_run import chosen_run
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.diagnosis import causes, miss_log, near_miss, pictures
from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.exchange.decide import Decider
from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.flights.flight import Flights
from computer_use_cache.formats.base import Json
from computer_use_cache.keys import canonical_json, upstream
from computer_use_cache.models import Bypass, Request
from computer_use_cache.screens.approval import Find, Rule
from computer_use_cache.screens.drawing import drawn_difference
from computer_use_cache.screens.masks import masks
from computer_use_cache.screens.pixels import can_decode
from computer_use_cache.setting_values import is_loopback
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.units import counted


@click.command("explain")
@click.argument("request_file", required=False, metavar="REQUEST.json", type=click.File("rb"))
@click.option("--path", help="The request's route, such as /v1/responses; by default guessed from the body.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
@click.option("--summary", is_flag=True, help="Group the last thousand near misses by where they first differ.")
@click.option(
    "--since", type=click.FloatRange(min=0), metavar="SECONDS", help="With --summary: only misses of the last SECONDS."
)
@click.option("--run", metavar="RUN", help="With --summary: only misses of this run, an id or `last`.")
@click.option(
    "--write",
    "settings_path",
    is_flag=False,
    flag_value=".env",
    metavar="[FILE]",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Put the settings that would have helped into FILE, by default .env.",
)
@click.option(
    "--mask",
    "drawing_path",
    metavar="FILE.png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the first differing picture: what differs in red, what masks hide in blue.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_request(
    *,
    request_file: IO[bytes] | None,
    path: str | None,
    headers: tuple[str, ...],
    summary: bool,
    since: float | None,
    run: str | None,
    settings_path: Path | None,
    drawing_path: Path | None,
    as_json: bool,
) -> None:
    """Explain why a request is a miss.

    REQUEST.json holds its body (- reads standard input). Shows the nearest stored request, where the two differ, and
    the settings that would have made it a hit. With --summary, explains the last misses, or those of one run.
    """
    if summary is (request_file is not None):
        raise click.UsageError("give either a file with a request or --summary")
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        if request_file is None:
            misses = _misses(store, time.time() - since if since is not None else 0.0, run)
            groups = causes.grouped(causes.for_all(misses, store, settings.image_mask))
            click.echo(json.dumps(groups)) if as_json else _print_groups(groups)
            if drawing_path:
                drawn = next((group for group in groups if group["pictures"]), None)
                _draw(drawing_path, drawn and drawn["example"] | {"settings": drawn["settings"]}, store.media, settings)
            if settings_path:
                _write(settings_path, causes.merged(group["settings"] for group in groups))
            return
        cache = Cache(settings, store, loopback=is_loopback(settings.host))
        try:
            found, find = _explain(cache, _request(request_file.read(), path, headers, settings))
        except (RequestError, FormatError, OSError) as error:
            raise click.ClickException(f"cannot explain {request_file.name}: {error}") from None
        if drawing_path:
            _draw(drawing_path, found, find, settings)
    click.echo(json.dumps(found)) if as_json else _print_explanation(found)
    if settings_path:
        _write(settings_path, found["settings"])


def _misses(store: Store, since: float, run: str | None) -> list[Json]:
    """The logged near misses, of one run if it is named. Raises UsageError."""
    if run is None:
        return miss_log.near_misses(store, since)
    found = chosen_run(store.run_log, run)
    asked = {call.asked for call in store.run_log.calls(found.id)}
    return [miss for miss in miss_log.near_misses(store, max(since, found.began)) if miss["key"] in asked]


def _draw(path: Path, miss: Json | None, find: Find, settings: Settings) -> None:
    """Draw the first differing picture of a near miss, and say on standard error what was written."""
    drawn = None
    if miss and miss["pictures"] and can_decode():
        recorded, asked = miss["pictures"][0]
        mask = miss["settings"].get("CACHE_IMAGE_MASK")
        drawn = drawn_difference(recorded, asked, find, masks(mask) if mask else settings.image_mask)
    if drawn is None:
        click.echo(f"Nothing was drawn into {path}: no two pictures could be compared.", err=True)
        return
    path.write_bytes(drawn)
    click.echo(f"Drew what differs (red) and what masks hide (blue) into {path}.", err=True)


def _write(path: Path, settings: dict[str, str]) -> None:
    """Write settings to a file, and say so on standard error: standard output may hold JSON."""
    if not settings:
        click.echo(f"Nothing was written to {path}: no setting would have helped.", err=True)
        return
    for line in (written := settings_file.add(path, settings, os.environ)):
        click.echo(f"Wrote {line} to {path}.", err=True)
    if not written:
        click.echo(f"{path} has these settings already.", err=True)
    elif "CACHE_IGNORE_KEYS" in settings or settings.get("CACHE_NORMALIZE", Rule.CARET) != Rule.CARET:
        click.echo("These settings change keys, so the requests that they affect are recorded once more.", err=True)


def _request(body: bytes, path: str | None, headers: tuple[str, ...], settings: Settings) -> Request:
    pairs = [header.partition(":") for header in headers]
    if wrong := next((name for name, colon, _ in pairs if not colon), None):
        raise click.UsageError(f"--header {wrong}: write it as NAME:VALUE")
    asked_path = path or _guessed_path(body)
    base = settings.upstream_base_url
    upstream_base, below = upstream.split(base.origin, upstream.resolve(base, asked_path), base)
    if formats.match(below) is None:
        raise click.UsageError(f"--path {asked_path} is not a cached route")
    return Request(upstream_base, below, (), {name.strip().lower(): value.strip() for name, _, value in pairs}, body)


def _guessed_path(body: bytes) -> str:
    if route := formats.guessed_route(canonical_json.parse_body(body)):
        return "/v1" + route
    raise click.UsageError("cannot tell the API from the request's body; give its route with --path")


def _explain(cache: Cache, request: Request) -> tuple[Json, Find]:
    """The `outcome` that the request would have now, its `key` and `reason`, and for a near miss the nearest request;
    and what finds its pictures."""
    plan = cache.plan(request)
    found: Json = {
        "outcome": "BYPASS",
        "key": plan.key,
        "reason": "",
        "near": None,
        "differences": [],
        "normalizers": [],
        "settings": {},
        "uncured": "",
        "pictures": [],
    }
    find: Find = cache.store.media
    if isinstance(plan.verdict, Bypass):
        return found | {"reason": str(plan.verdict)}, find
    decision, plan = Decider(cache, Flights()).decide(plan, time.time())
    if isinstance(decision, Serve):
        rebound = ", rebound" * bool(decision.rebound)
        age = f"recorded {time.time() - decision.entry.created_at:.0f} s ago"
        return found | {"outcome": "HIT", "key": decision.entry.key, "reason": age + rebound}, find
    found |= {"key": plan.key}
    if isinstance(plan.verdict, Bypass):
        return found | {"reason": str(plan.verdict)}, find
    study = near_miss.study(cache, plan)
    if study.record:
        find = pictures.finder(cache.store, study.record)
    if study.near is None:
        return found | {"outcome": "MISS", "reason": "no similar request is stored"}, find
    return found | {"outcome": "MISS", "reason": str(study.near), **near_miss.as_json(study.near)}, find


def _print_explanation(found: Json) -> None:
    console = Console(highlight=False)
    console.print(
        f"{found['outcome']} {found['key'][:8]}".rstrip() + (f": {escape(found['reason'])}" if found["reason"] else "")
    )
    if found["differences"]:
        table = Table(
            Column("where", no_wrap=True, overflow="fold"), "at char", "this request", f"{found['near'][:8]}, stored"
        )
        for one in (Difference(**fields) for fields in found["differences"]):
            at = one.picture or str(one.at if one.at is not None else "")
            table.add_row(escape(one.path), at, _side(one.asked), _side(one.recorded))
        console.print(table)
        console.print(escape(f"A hit with: {_cure(found)}"), soft_wrap=True)


def _side(text: str | None) -> str:
    return "[dim]nothing[/dim]" if text is None else escape(text)


def _print_groups(groups: list[Json]) -> None:
    console = Console(highlight=False)
    if not groups:
        console.print("No near misses are logged: no miss resembled a stored request.")
        return
    cure = Column("a hit with", overflow="fold")
    place = Column("differs first at", no_wrap=True, overflow="fold")  # in full, however narrow the terminal
    number = sum(group["misses"] for group in groups)
    table = Table(
        place, "misses", "newest example: asked", "stored", cure, title=counted(number, "near miss", "near misses")
    )
    for group in groups:
        first = Difference(**group["example"]["differences"][0])
        table.add_row(
            escape(group["path"]),
            str(group["misses"]),
            _side(group["pictures"] or first.asked),
            _side(first.recorded),
            escape(_cure(group)),
        )
    console.print(table)


def _cure(found: Json) -> str:
    return settings_file.assignments(found["settings"]) or f"none, {found['uncured']}"
