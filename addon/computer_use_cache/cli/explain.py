"""`explain`: why one request would be a miss, or what the last misses had in common."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from typing import IO

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from computer_use_cache import formats
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.near_miss import Difference
from computer_use_cache.errors import CacheError, RequestError
from computer_use_cache.formats.base import Json
from computer_use_cache.keys import canonical_json, upstream
from computer_use_cache.models import Bypass, Entry, Request
from computer_use_cache.setting_values import is_loopback
from computer_use_cache.settings import Settings


@click.command("explain")
@click.argument("request_file", required=False, metavar="REQUEST.json", type=click.File("rb"))
@click.option("--path", help="The route it is sent to, such as /v1/responses; guessed from the body when not given.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header that is sent with it.")
@click.option("--summary", is_flag=True, help="Group the last thousand near misses by where they first differ.")
@click.option("--since", type=click.FloatRange(min=0), metavar="SECONDS", help="Only misses of the last so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_request(
    *,
    request_file: IO[bytes] | None,
    path: str | None,
    headers: tuple[str, ...],
    summary: bool,
    since: float | None,
    as_json: bool,
) -> None:
    """Say why a request (its JSON body, - for standard input) is a miss: the nearest stored request, and where they
    first differ. With --summary, do so for the misses of a whole run."""
    if summary is (request_file is not None):
        raise click.UsageError("give either a file with a request, or --summary")
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        if request_file is None:
            noted = near_miss.misses(store, time.time() - since if since is not None else 0.0)
            groups = _grouped(noted)
            click.echo(json.dumps(groups)) if as_json else _print_groups(groups, len(noted))
            return
        cache = Cache(settings, store, loopback=is_loopback(settings.host))
        told = _told(cache, _request(request_file.read(), path, headers, settings))
    click.echo(json.dumps(told)) if as_json else _print_told(told)


def _request(body: bytes, path: str | None, headers: tuple[str, ...], settings: Settings) -> Request:
    pairs = [header.partition(":") for header in headers]
    if wrong := next((name for name, colon, _ in pairs if not colon), None):
        raise click.UsageError(f"--header {wrong}: write it as NAME:VALUE")
    asked_path = path or _guessed_path(body)
    base = settings.upstream_base_url
    upstream_base, below = upstream.split(base.origin, upstream.resolve(base, asked_path), base)
    if formats.match(below) is None:
        raise click.UsageError(f"--path {asked_path}: answers to it are not cached")
    return Request(upstream_base, below, (), {name.strip().lower(): value.strip() for name, _, value in pairs}, body)


def _guessed_path(body: bytes) -> str:
    try:
        sent = canonical_json.parse_body(body)
    except (CacheError, RequestError) as error:
        raise click.ClickException(str(error)) from None
    match sent:
        case {"messages": _, "model": str(model)} if "system" in sent or model.startswith("claude-"):
            return "/v1/messages"
        case {"messages": _}:
            return "/v1/chat/completions"
        case {"prompt": _}:
            return "/v1/completions"
        case {"input": _}:
            return "/v1/responses"
    raise click.UsageError("the request's API cannot be told from its body: name its route with --path")


def _told(cache: Cache, request: Request) -> Json:
    """What became of the request now: `outcome`, `key`, `reason`, and for a near miss `near` and `differences`."""
    plan = cache.plan(request)
    told: Json = {
        "outcome": "BYPASS",
        "key": plan.key,
        "reason": "",
        "near": None,
        "differences": [],
        "normalizers": [],
    }
    if isinstance(plan.verdict, Bypass):
        return told | {"reason": str(plan.verdict)}
    entry = cache.lookup(plan, time.time())
    if isinstance(entry, Entry):
        return told | {"outcome": "HIT", "reason": f"recorded {time.time() - entry.created_at:.0f} s ago"}
    found = near_miss.study(cache, plan)
    if found.bypass:
        return told | {"key": "", "reason": str(found.bypass)}
    if found.near is None:
        return told | {"outcome": "MISS", "reason": "no stored request is near it"}
    return told | {"outcome": "MISS", "reason": str(found.near), **near_miss.as_json(found.near)}


def _print_told(told: Json) -> None:
    console = Console(highlight=False)
    console.print(
        f"{told['outcome']} {told['key'][:8]}".rstrip() + (f": {escape(told['reason'])}" if told["reason"] else "")
    )
    if told["differences"]:
        table = Table(
            Column("where", no_wrap=True, overflow="fold"), "at char", "this request", f"{told['near'][:8]}, stored"
        )
        for one in (Difference(**fields) for fields in told["differences"]):
            table.add_row(
                escape(one.path), str(one.at if one.at is not None else ""), _side(one.asked), _side(one.recorded)
            )
        console.print(table)


def _side(text: str | None) -> str:
    return "[dim]nothing[/dim]" if text is None else escape(text)


def _grouped(noted: list[Json]) -> list[Json]:
    """The misses by the first path that differs, the commonest first, each with its newest example."""
    groups: dict[str, list[Json]] = defaultdict(list)
    for miss in noted:
        groups[miss["differences"][0]["path"]].append(miss)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [{"path": path, "misses": len(group), "example": group[0]} for path, group in ordered]


def _print_groups(groups: list[Json], number: int) -> None:
    console = Console(highlight=False)
    if not groups:
        console.print("No near misses are noted: nothing was asked again with a change.")
        return
    cure = Column("a hit with CACHE_NORMALIZE=", overflow="fold")
    place = Column("differs first at", no_wrap=True, overflow="fold")  # whole, however narrow the terminal is
    table = Table(place, "misses", "newest example: asked", "stored", cure, title=f"{number} near misses")
    for group in groups:
        first = Difference(**group["example"]["differences"][0])
        names = ",".join(group["example"]["normalizers"])
        table.add_row(escape(group["path"]), str(group["misses"]), _side(first.asked), _side(first.recorded), names)
    console.print(table)
