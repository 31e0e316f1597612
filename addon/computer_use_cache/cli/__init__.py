"""The command line. These modules parse arguments and print; the work is done elsewhere.

Errors go to standard error and say what to do next. The exit status is 1 after a failure and 2 after wrong usage.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

_COMMANDS = {
    "demo": "demo.demo",
    "start": "start.start",
    "run": "run.run_command",
    "runs": "runs.runs",
    "show": "show.show",
    "diff": "diff.diff",
    "replay": "replay.replay",
    "fork": "fork.fork",
    "init": "env.init",
    "install": "install.install",
    "env": "env.env",
    "stats": "stats.stats",
    "clear": "clear.clear",
    "explain": "explain.explain_request",
    "mcp": "mcp.serve_mcp",
    "report": "report.report",
    "audit": "audit.audit",
    "doctor": "doctor.doctor",
    "export": "export.export_entries",
    "import": "import_.import_recordings",
    "entry-path": "version.entry_path",
    "version": "version.version",
}
"""Where each command is defined; it is imported when it is used, so that `version` answers at once."""
_ALIASES = {"serve": "start", "proxy": "start"}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(_ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, _, name = place.partition(".")
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from computer_use_cache.cli.misspelt import meant  # noqa: PLC0415  # only a mistake waits for it

            hint = meant(args[0], _COMMANDS)
            raise click.UsageError(f"{error.message} Did you mean {hint!r}?", ctx) if hint else error from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def commands() -> None:
    """A response cache for AI agents: repeated model calls are answered from disk, everything else goes upstream.

    Settings are environment variables; `computer-use-cache doctor` lists them with their values.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's own, and return its exit status."""
    try:
        status = commands.main(argv, prog_name="computer-use-cache", standalone_mode=False)
    except click.Abort:
        click.echo("Aborted.", err=True)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:  # a file that cannot be read or written, or a full disk behind standard output
        reason = error.strerror or str(error)
        click.echo(f"Error: {error.filename}: {reason}" if error.filename else f"Error: {reason}", err=True)
        return 1
    except _cache_error() as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return status if isinstance(status, int) else 0


def _cache_error() -> type[Exception]:
    """The package's own exception, imported only to handle one: that takes as long as the rest of `version`."""
    from computer_use_cache.errors import CacheError  # noqa: PLC0415

    return CacheError


def run() -> NoReturn:
    """Entry point of the console script."""
    status = main()
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter would try again at its end, and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = status or 1
    sys.exit(status)
