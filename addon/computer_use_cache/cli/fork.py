"""`fork`: a recorded run's command again, which leaves the recorded path at one of its calls."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from computer_use_cache.cache import policy
from computer_use_cache.cli import again, options
from computer_use_cache.cli.again import Again
from computer_use_cache.errors import CacheError
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call, Fork
from computer_use_cache.runs import drift
from computer_use_cache.runs.finding import LAST
from computer_use_cache.setting_values import Mode


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
@click.argument("run", default=LAST)
def fork(
    *,
    run: str,
    step: int,
    model: str,
    answer: Path | None,
    base_url: bool,
    as_json: bool,
    pairs: tuple[str, ...],
    **flags: str | None,
) -> int:
    """Run the command of RUN again, in its folder, and leave the recorded path at step N.

    RUN is an id or `last`. The calls before step N are answered from the cache. Step N is asked of another model,
    gets the answer in FILE, or is asked once more; all later calls go upstream. The fork is recorded as a run, whose
    parent is RUN and whose entries replace none of RUN's.

    The exit status is the command's, or 1 if it never came to step N.
    """
    if model and answer:
        raise click.UsageError("give --model or --answer: a given answer comes from no model")
    given = _readable(answer) if answer else ""
    repeated = _forked(again.prepare(run, flags, pairs, Mode.READWRITE, base_url=base_url), step, model)
    status = repeated.run(answer=given, as_json=as_json)
    calls, drifts = repeated.drifts()
    refused = [one for one in drifts if one.step <= len(calls) and calls[one.step - 1].outcome is Outcome.REFUSED]
    is_forked = sum(not _is_before(call) for call in calls) > repeated.new.forks[-1].after
    parent, new = repeated.recorded.id, repeated.new.id
    if as_json:
        told = {"run": new, "parent": parent, "from": step, "forked": is_forked, "status": status}
        click.echo(msgspec.json.encode(told | {"calls": len(calls), "refused": refused}))
        return status if is_forked else status or 1
    if is_forked:
        click.echo(f"Forked run {parent} at step {step}: computer-use-cache diff {parent} {new}", err=True)
    else:
        click.echo(f"Run {parent} was not forked: its command never came to step {step}.", err=True)
    again.show(refused)
    return status if is_forked else status or 1


def _forked(repeated: Again, step: int, model: str) -> Again:
    """The new run as a fork at a step of the recorded one."""
    if step > len(repeated.calls):
        raise click.UsageError(f"--from {step}: run {repeated.recorded.id} has {len(repeated.calls)} steps")
    after = len(drift.answered(repeated.calls[: step - 1]))
    new = repeated.new
    earlier = (one for one in new.forks if one.after < after)
    own = Fork(run=new.id, after=after, model=model)
    return dataclasses.replace(repeated, new=replace(new, forks=(*earlier, own)))


def _readable(path: Path) -> str:
    """The absolute path of a file with an answer. Raises CacheError if it holds none."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CacheError(f"{path} cannot be read: {error}") from None
    if not text.strip():
        raise CacheError(f"{path} is empty; an answer has to say something")
    return str(path.absolute())


def _is_before(call: Call) -> bool:
    """Whether the call comes before the fork and is not recorded."""
    return call.outcome is Outcome.REFUSED and call.reason.startswith(policy.FORK)
