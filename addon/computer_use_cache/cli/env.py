"""`init` writes the settings to a file; `env` prints the variables that agents read."""

from __future__ import annotations

import os
from pathlib import Path

import click

from computer_use_cache.cli import client
from computer_use_cache.launch.environment import base_urls
from computer_use_cache.setting_declaration import Surface
from computer_use_cache.settings import Settings

_SET = {
    "bash": "export {name}='{value}'",
    "fish": "set -gx {name} '{value}'",
    "powershell": "$env:{name} = '{value}'",
}
_KEY_UNLESS_SET = {
    "bash": 'export OPENAI_API_KEY="${OPENAI_API_KEY:-${UPSTREAM_API_KEY:-unused}}"',
    "fish": "set -q OPENAI_API_KEY; or set -gx OPENAI_API_KEY (set -q UPSTREAM_API_KEY; "
    "and echo $UPSTREAM_API_KEY; or echo unused)",
    "powershell": "if (-not $env:OPENAI_API_KEY) { $env:OPENAI_API_KEY = "
    "if ($env:UPSTREAM_API_KEY) { $env:UPSTREAM_API_KEY } else { 'unused' } }",
}
"""SDKs refuse to start without a key, even if the cache sends its own instead."""


@click.command()
@click.option("--shell", type=click.Choice(list(_SET)), default="bash", show_default=True, help="The syntax to print.")
@client.address_options
def env(shell: str, host: str | None, port: str | None) -> None:
    """Print shell commands that point agents at the cache.

    \b
    eval "$(computer-use-cache env)"
    computer-use-cache env --shell fish | source
    computer-use-cache env --shell powershell | Out-String | Invoke-Expression
    """
    url = client.address(Settings.load(client.environment(host, port)))
    for name, value in base_urls(url).items():
        click.echo(_SET[shell].format(name=name, value=value))
    click.echo(_KEY_UNLESS_SET[shell])


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=".", help="The folder to write to.  [.]")
@click.option("--force", is_flag=True, help="Overwrite an existing .env.")
def init(folder: Path, force: bool) -> None:
    """Write a .env file that explains every setting.

    All defaults in it are commented out.
    """
    path = folder / ".env"
    existed = path.exists()
    if existed and not force:
        raise click.ClickException(f"{path} already exists; overwrite it with --force, or choose another --dir")
    folder.mkdir(parents=True, exist_ok=True)
    # Users will put keys into it, so it is created with owner-only permissions.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(_dotenv())
    click.echo(f"{'Overwrote' if existed else 'Wrote'} {path}.")
    sourced = path if path.is_absolute() else f"./{path}"  # without a slash, `.` searches the PATH
    click.echo(f"Next: uncomment what you want to set, then run: set -a; . {sourced}; set +a; computer-use-cache start")


def _dotenv() -> str:
    lines = ["# computer-use-cache: every setting with its default.", ""]
    for item in Settings.declarations():
        lines.append(f"# {item.help}")
        if len(item.variables) > 1:
            lines.append(f"# Also read, in this order: {', '.join(item.variables[1:])}.")
        if item.surface is Surface.ENVIRONMENT:
            lines.append("# Environment only; there is no flag for it.")
        lines += [f"#{item.variables[0]}={item.default}", ""]
    return "\n".join(lines)
