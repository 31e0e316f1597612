"""`explain`: why a request would be a miss, or what recent misses have in common."""

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
from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.exchange.decide import Decider
from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.flights.flight import Flights
from computer_use_cache.formats.base import Json
from computer_use_cache.keys import canonical_json, upstream
from computer_use_cache.models import Bypass, Request
from computer_use_cache.setting_values import is_loopback
from computer_use_cache.settings import Settings


@click.command("explain")
@click.argument("request_file", required=False, metavar="REQUEST.json", type=click.File("rb"))
@click.option("--path", help="The route it is sent to, such as /v1/responses; by default guessed from the body.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
@click.option("--summary", is_flag=True, help="Group the last thousand near misses by where they first differ.")
@click.option(
    "--since", type=click.FloatRange(min=0), metavar="SECONDS", help="With --summary: only misses of the last SECONDS."
)
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
    """Explain why a request is a miss.

    REQUEST.json holds its body (- reads standard input). Shows the nearest stored request and where the two first
    differ. With --summary, explains the misses of a whole run.
    """
    if summary is (request_file is not None):
        raise click.UsageError("give either a file with a request or --summary")
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        if request_file is None:
            noted = near_miss.misses(store, time.time() - since if since is not None else 0.0)
            groups = _grouped(noted)
            click.echo(json.dumps(groups)) if as_json else _print_groups(groups, len(noted))
            return
        cache = Cache(settings, store, loopback=is_loopback(settings.host))
        try:
            found = _explain(cache, _request(request_file.read(), path, headers, settings))
        except (RequestError, FormatError, OSError) as error:
            raise click.ClickException(f"cannot explain {request_file.name}: {error}") from None
    click.echo(json.dumps(found)) if as_json else _print_explanation(found)


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
    match sent := canonical_json.parse_body(body):
        case {"messages": _, "model": str(model)} if "system" in sent or model.startswith("claude-"):
            return "/v1/messages"
        case {"messages": _}:
            return "/v1/chat/completions"
        case {"prompt": _}:
            return "/v1/completions"
        case {"input": _}:
            return "/v1/responses"
    raise click.UsageError("cannot tell the API from the request's body; give its route with --path")


def _explain(cache: Cache, request: Request) -> Json:
    """The `outcome` that the request would have now, its `key` and `reason`, and for a near miss what is near."""
    plan = cache.plan(request)
    found: Json = {
        "outcome": "BYPASS",
        "key": plan.key,
        "reason": "",
        "near": None,
        "differences": [],
        "normalizers": [],
    }
    if isinstance(plan.verdict, Bypass):
        return found | {"reason": str(plan.verdict)}
    decision, plan = Decider(cache, Flights()).decide(plan, time.time())
    if isinstance(decision, Serve):
        rebound = ", rebound" * bool(decision.rebound)
        age = f"recorded {time.time() - decision.entry.created_at:.0f} s ago"
        return found | {"outcome": "HIT", "key": decision.entry.key, "reason": age + rebound}
    found |= {"key": plan.key}
    if isinstance(plan.verdict, Bypass):
        return found | {"reason": str(plan.verdict)}
    study = near_miss.study(cache, plan)
    if study.near is None:
        return found | {"outcome": "MISS", "reason": "no stored request is near it"}
    return found | {"outcome": "MISS", "reason": str(study.near), **near_miss.as_json(study.near)}


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
            table.add_row(
                escape(one.path), str(one.at if one.at is not None else ""), _side(one.asked), _side(one.recorded)
            )
        console.print(table)


def _side(text: str | None) -> str:
    return "[dim]nothing[/dim]" if text is None else escape(text)


def _grouped(noted: list[Json]) -> list[Json]:
    """Misses grouped by the first differing path, largest group first, each with its newest example."""
    groups: dict[str, list[Json]] = defaultdict(list)
    for miss in noted:
        groups[miss["differences"][0]["path"]].append(miss)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [{"path": path, "misses": len(group), "example": group[0]} for path, group in ordered]


def _print_groups(groups: list[Json], number: int) -> None:
    console = Console(highlight=False)
    if not groups:
        console.print("No near misses are logged: no request was repeated with a change.")
        return
    cure = Column("a hit with CACHE_NORMALIZE=", overflow="fold")
    place = Column("differs first at", no_wrap=True, overflow="fold")  # in full, however narrow the terminal
    table = Table(place, "misses", "newest example: asked", "stored", cure, title=f"{number} near misses")
    for group in groups:
        first = Difference(**group["example"]["differences"][0])
        names = ",".join(group["example"]["normalizers"])
        table.add_row(escape(group["path"]), str(group["misses"]), _side(first.asked), _side(first.recorded), names)
    console.print(table)
