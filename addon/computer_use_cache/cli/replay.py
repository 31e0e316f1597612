"""`replay`: runs a recorded run's command again, answered by the cache alone. For CI, and before a release."""

from __future__ import annotations

import click
import msgspec

from computer_use_cache.cli import drifts, options, rerun
from computer_use_cache.models import Outcome
from computer_use_cache.runs.finding import LAST
from computer_use_cache.setting_values import Mode
from computer_use_cache.units import counted

_DRIFTED = 3


@click.command()
@options.setting_flags(address=False)
@click.option("--base-url", is_flag=True, help="As for `run`; by default as the run was recorded.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the command's own output goes to standard error.")
@click.option("--here", is_flag=True, help="Run it in the current folder, for a run that was recorded elsewhere.")
@click.option("--annotate", metavar="FILE", help="Have GitHub Actions annotate FILE, the recording, with each drift.")
@rerun.consent
@click.argument("run", default=LAST)
def replay(
    run: str,
    *,
    base_url: bool,
    as_json: bool,
    here: bool,
    yes: bool,
    annotate: str | None,
    pairs: tuple[str, ...],
    **flags: str | None,
) -> int:
    """Run a recorded command again, answered by the cache alone.

    RUN is an id, its beginning, or `last` (the default). Its command runs in its folder. Nothing goes upstream. Prints
    each call that is not recorded, and where the nearest recorded request differs. The replay is recorded as a run
    whose parent is RUN.

    The exit status is the command's, or 3 if it left the recorded path.
    """
    repeat = rerun.prepare(run, flags, pairs, Mode.OFFLINE, base_url=base_url, yes=yes, here=here)
    status = repeat.run(as_json=as_json)
    calls, found = repeat.drifts()
    made = counted(len(calls), "call", "calls")
    hits = sum(call.outcome is Outcome.HIT for call in calls)
    if as_json:
        result = {"run": repeat.new.id, "parent": repeat.recorded.id, "status": status, "calls": len(calls)}
        click.echo(msgspec.json.encode(result | {"hits": hits, "drifts": found}))
    elif found:
        click.echo(f"Run {repeat.recorded.id} drifted: {made}, {hits} of them recorded.", err=True)
        rerun.print_drifts(found)
    else:
        click.echo(f"Run {repeat.recorded.id} replayed: {made}, all recorded.", err=True)
    if annotate:
        for one in found:
            click.echo(drifts.annotation(one, annotate))
    return _DRIFTED if found else status
