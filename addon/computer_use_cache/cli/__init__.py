"""The command line. These modules parse arguments and print; the work is done elsewhere.

Errors go to standard error and say what to do next. The exit status is 1 after a failure and 2 after wrong usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from computer_use_cache.cli.audit import audit
from computer_use_cache.cli.clear import clear
from computer_use_cache.cli.doctor import doctor
from computer_use_cache.cli.env import env, init
from computer_use_cache.cli.explain import explain_request
from computer_use_cache.cli.export import export_entries
from computer_use_cache.cli.import_ import import_recordings
from computer_use_cache.cli.install import install
from computer_use_cache.cli.run import run_command
from computer_use_cache.cli.start import start
from computer_use_cache.cli.stats import stats
from computer_use_cache.cli.version import entry_path, version
from computer_use_cache.errors import CacheError

_ALIASES = {"serve": "start", "proxy": "start"}


class _Commands(click.Group):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def commands() -> None:
    """A response cache for AI agents: repeated model calls are answered from disk, everything else goes upstream.

    Settings are environment variables; `computer-use-cache doctor` lists them with their values.
    """


for _command in (
    start,
    run_command,
    init,
    install,
    env,
    stats,
    clear,
    explain_request,
    audit,
    doctor,
    export_entries,
    import_recordings,
    entry_path,
    version,
):
    commands.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's own, and return its exit status."""
    try:
        status = commands.main(argv, prog_name="computer-use-cache", standalone_mode=False)
    except click.Abort:
        click.echo("Aborted; nothing was changed.", err=True)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CacheError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return status if isinstance(status, int) else 0


def run() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(main())
