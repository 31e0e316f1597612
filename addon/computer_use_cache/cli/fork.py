"""`fork`: runs a recorded run's command again, leaving the recorded path at one of its calls."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from computer_use_cache.cache import policy
from computer_use_cache.cli import options, rerun
from computer_use_cache.cli.rerun import Rerun
from computer_use_cache.errors import CacheError
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call, Fork
from computer_use_cache.runs import drift
from computer_use_cache.runs.finding import LAST
from computer_use_cache.setting_values import Mode
from computer_use_cache.units import counted


@click.command()
@options.setting_flags(address=False)
@click.option("--from", "step", required=True, metavar="N", type=click.IntRange(min=1), help="The step to fork at.")
@click.option("--model", default="", help="Ask this model at step N.")
@click.option(
    "--answer",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Give step N this answer: the API's JSON, or plain text.",
)
@click.option("--base-url", is_flag=True, help="As for `run`; by default as the run was recorded.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the command's own output goes to standard error.")
@rerun.consent
@click.argument("run", default=LAST)
def fork(
    *,
    run: str,
    step: int,
    model: str,
    answer: Path | None,
    base_url: bool,
    as_json: bool,
    yes: bool,
    pairs: tuple[str, ...],
    **flags: str | None,
) -> int:
    """Run a recorded command again, differently from step N on.

    RUN is an id, its beginning, or `last` (the default). Its command runs in its folder. The calls before step N are
    answered from the cache. Step N goes to another model, gets the answer in FILE, or is sent upstream unchanged; all
    later calls go upstream. The fork is recorded as a run whose parent is RUN. Its entries replace none of RUN's.

    The exit status is the command's; if that is 0 although step N was never reached, it is 1.
    """
    if model and answer:
        raise click.UsageError("give --model or --answer, not both: a given answer comes from no model")
    given = _readable(answer) if answer else ""
    repeat = _forked(rerun.prepare(run, flags, pairs, Mode.READWRITE, base_url=base_url, yes=yes), step, model)
    status = repeat.run(answer=given, as_json=as_json)
    calls, drifts = repeat.drifts()
    refused = [one for one in drifts if one.step <= len(calls) and calls[one.step - 1].outcome is Outcome.REFUSED]
    is_forked = sum(not _is_before(call) for call in calls) > repeat.new.forks[-1].after
    parent, new = repeat.recorded.id, repeat.new.id
    if as_json:
        result = {"run": new, "parent": parent, "from": step, "forked": is_forked, "status": status}
        click.echo(msgspec.json.encode(result | {"calls": len(calls), "refused": refused}))
        return status if is_forked else status or 1
    if is_forked:
        click.echo(f"Forked run {parent} at step {step}: computer-use-cache diff {parent} {new}", err=True)
    else:
        click.echo(f"Run {parent} was not forked: its command never reached step {step}.", err=True)
    rerun.print_drifts(refused)
    return status if is_forked else status or 1


def _forked(repeat: Rerun, step: int, model: str) -> Rerun:
    """The new run as a fork at a step of the recorded one."""
    if step > len(repeat.calls):
        raise click.UsageError(
            f"--from {step}: run {repeat.recorded.id} has {counted(len(repeat.calls), 'step', 'steps')}"
        )
    after = len(drift.answered(repeat.calls[: step - 1]))
    new = repeat.new
    earlier = (one for one in new.forks if one.after < after)
    own = Fork(run=new.id, after=after, model=model)
    return dataclasses.replace(repeat, new=replace(new, forks=(*earlier, own)))


def _readable(path: Path) -> str:
    """The absolute path of a file with an answer. Raises CacheError if it holds none."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CacheError(f"{path} cannot be read: {error}") from None
    if not text.strip():
        raise CacheError(f"{path} is empty; it must hold an answer")
    return str(path.absolute())


def _is_before(call: Call) -> bool:
    """Whether the call comes before the fork and is not recorded."""
    return call.outcome is Outcome.REFUSED and call.reason.startswith(policy.FORK)
