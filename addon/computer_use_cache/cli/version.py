"""`version` and `entry-path`, for scripts."""

from __future__ import annotations

import click

from computer_use_cache import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


@click.command("entry-path")
def entry_path() -> None:
    """Print the addon's path, for mitmproxy's -s option.

    \b
    mitmdump -s "$(computer-use-cache entry-path)" --mode reverse:https://api.openai.com@127.0.0.1:8000
    """
    from computer_use_cache.launch import launcher  # noqa: PLC0415  # `version` does not need it

    click.echo(launcher.entry_path())
