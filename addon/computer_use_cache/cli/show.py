"""`show`: the calls of a run in a line each, or one step of it in full."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator

import click
from rich.console import Console
from rich.text import Text

from computer_use_cache.cli.chosen_run import chosen_run
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.cli.differences import lines_of
from computer_use_cache.formats import by_name
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.item import Item, Kind
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call, Run
from computer_use_cache.runs import as_json, steps
from computer_use_cache.runs.comparison import Differences, of_records
from computer_use_cache.runs.finding import LAST
from computer_use_cache.runs.lines import COLOURS, Line, line, money, printable, summarize
from computer_use_cache.runs.steps import Step
from computer_use_cache.runs.totals import totals
from computer_use_cache.screens.approval import Approval
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.units import counted, dollars, duration

_LONGEST_TEXT = 4000


@click.command()
@click.argument("run", default=LAST)
@click.argument("step", required=False, type=click.IntRange(min=1))
@click.option("--json", "to_json", is_flag=True, help="Print JSON.")
def show(run: str, step: int | None, to_json: bool) -> None:
    """Show the calls of a run, or one step of it.

    RUN is an id, its beginning, `last` (the default), or `last~1` for the one before. A step shows what its
    request changed since the step before, the model's answer, and the reason for a miss.
    """
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        chosen = chosen_run(store.run_log, run)
        calls = store.run_log.calls(chosen.id)
        if step is None:
            _show_run(store, chosen, calls, to_json=to_json)
            return
        if step > len(calls):
            raise click.UsageError(f"{chosen.id} has {counted(len(calls), 'step', 'steps')}")
        *_, found = steps.load(store, calls[:step])
        near = _near(store, found, Approval(settings.image_mask))
    if to_json:
        click.echo(json.dumps(as_json.of_step(found, near)))
    else:
        _print(_step_lines(found, near))


def _show_run(store: Store, run: Run, calls: list[Call], *, to_json: bool) -> None:
    done = [_did(store, call) for call in calls]
    if to_json:
        listed = [
            {"step": number, **as_json.of_call(call), "did": what}
            for number, (call, what) in enumerate(zip(calls, done, strict=True), 1)
        ]
        click.echo(json.dumps({**as_json.of_run(run, totals(calls)), "steps": listed}))
        return
    lines = [line(call, number, what) for number, (call, what) in enumerate(zip(calls, done, strict=True), 1)]
    width = max((len(each.model) for each in lines), default=0)
    _print(
        [_heading(run, calls), *(coloured(each, call.outcome, width) for each, call in zip(lines, calls, strict=True))]
    )


def _did(store: Store, call: Call) -> str:
    entry = store.get(call.key) if call.key else None
    return summarize(steps.items_of(Answer(by_name(call.format), entry.shape, entry.body))) if entry else ""


def _near(store: Store, step: Step, screens: Approval) -> Differences:
    """How a miss differs from the request that was nearest to it."""
    near = store.request(step.call.near_key) if step.call.near_key else None
    return of_records(near, step.record, screens, store.media) if near and step.record else Differences()


def _heading(run: Run, calls: list[Call]) -> Text:
    sums = totals(calls)
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began))
    status = "" if run.status is None else f", exit {run.status}"
    saved = f", saved {dollars(sums.saved_usd)}" if sums.saved_usd else ""
    spent = f", spent {dollars(sums.spent_usd)}" if sums.spent_usd else ""
    origin = f", {printable(run.origin)}" if run.origin else ""
    number, hits = counted(sums.calls, "call", "calls"), counted(sums.hits, "hit", "hits")
    refused = f", {sums.refusals:,} refused" if sums.refusals else ""
    counts = f"{number}, {hits}, {counted(sums.misses, 'miss', 'misses')}{refused}{saved}{spent}{status}{origin}"
    return Text.assemble(
        (run.id, "bold"), f"  {began}, {duration(run.ended - run.began)}  {printable(run.name)}\n{counts}"
    )


def coloured(parts: Line, outcome: Outcome, width: int) -> Text:
    """The line of a call, with its outcome in colour and its model padded to this width."""
    plain = str(parts._replace(model=parts.model.ljust(width)))
    text = Text(plain)
    at = len(parts.when) + 2
    text.stylize(COLOURS[outcome], at, at + len(parts.outcome))
    return text


def _step_lines(step: Step, near: Differences) -> Iterator[Text]:
    call, cost = step.call, step.call.cost
    yield Text(str(line(call, step.number, summarize(step.answer))), COLOURS[call.outcome])
    tokens = f"{counted(cost.input_tokens, 'token', 'tokens')} in, {cost.output_tokens:,} out"
    yield Text(
        f"{call.format} {printable(call.path)}, status {call.status}, {tokens}, {money(call) or 'no cost'}", "dim"
    )
    if near:
        yield Text(f"\nDiffers from {call.near_key[:8]} at")
        yield from lines_of(near, call.near_key[:8], "this request")
    if step.record is None:
        yield Text("\nIts request is not stored.")
    else:
        since = f"since step {step.before}" if step.before else "(a conversation begins)"
        yield Text(f"\nAsked {since}", "bold")
        for old, new in step.delta.changed:
            yield from _item_lines("-", (old,))
            yield from _item_lines("~", (new,))
        yield from _item_lines("-", step.delta.cut)
        yield from _item_lines("+", step.delta.added)
    if step.answer:
        yield Text("\nAnswered", "bold")
        yield from _item_lines(" ", step.answer)


def _item_lines(mark: str, items: Iterable[Item]) -> Iterator[Text]:
    style = {"+": "green", "-": "red", "~": "yellow"}.get(mark, "")
    for item in items:
        kind = "" if item.kind is Kind.TEXT else f" {item.kind}"
        yield Text(printable(f"{mark} {item.role}{kind}{f' {item.name}' if item.name else ''}:"), style)
        cut = item.text if len(item.text) <= _LONGEST_TEXT else f"{item.text[:_LONGEST_TEXT]}\u2026"
        for text in cut.splitlines():
            yield Text(f"{mark}   {printable(text)}", style)


def _print(lines: Iterable[Text]) -> None:
    console = Console(highlight=False)
    for each in lines:
        console.print(each, soft_wrap=True)
