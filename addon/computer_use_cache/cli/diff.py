"""`diff`: the step where two runs diverge, and how."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from computer_use_cache.cli.chosen_run import chosen_run
from computer_use_cache.cli.clear import opened_store
from computer_use_cache.cli.differences import lines_of
from computer_use_cache.run_models import Run
from computer_use_cache.runs import as_json, steps
from computer_use_cache.runs.comparison import Divergence, first_divergence
from computer_use_cache.runs.lines import printable, summarize
from computer_use_cache.screens.approval import Approval
from computer_use_cache.settings import Settings


@click.command()
@click.argument("left", metavar="RUN")
@click.argument("right", metavar="RUN")
@click.option("--json", "to_json", is_flag=True, help="Print JSON.")
def diff(left: str, right: str, to_json: bool) -> int:
    """Show the step where two runs diverge, and how.

    Compares texts, tool arguments, pictures and answers. Values that move from run to run, such as the time, do not
    count. The exit status is 0 if the runs are the same and 1 if they diverge.
    """
    settings = Settings.load(os.environ)
    with opened_store(settings) as store:
        log = store.run_log
        runs = chosen_run(log, left), chosen_run(log, right)
        one, other = (steps.load(store, log.calls(run.id)) for run in runs)
        found = first_divergence(one, other, Approval(settings.image_mask), store.media)
    if to_json:
        click.echo(json.dumps(as_json.of_divergence(*runs, found)))
    else:
        console = Console(highlight=False)
        for line in _lines(*runs, found):
            console.print(line, soft_wrap=True)
    return 0 if found is None else 1


def _lines(left: Run, right: Run, found: Divergence | None) -> Iterator[Text]:
    if found is None:
        yield Text(f"{left.id} and {right.id} are the same.")
        return
    if found.left is None or found.right is None:
        shorter, longer, step = (left, right, found.right) if found.left is None else (right, left, found.left)
        assert step, "one of them has this step"
        more = printable(summarize(step.answer)) or step.call.outcome
        yield Text(f"{shorter.id} ends after step {found.number - 1}; {longer.id} goes on: {more}")
        return
    yield Text(f"{left.id} and {right.id} diverge at step {found.number}", "bold")
    for name, differences in (("Asked", found.asked), ("Answered", found.answered)):
        if differences:
            yield Text(f"{name}:")
            yield from lines_of(differences, left.id, right.id)
