"""`install`: shows the configuration that points an agent at the cache; `--write` applies it and keeps a backup."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from computer_use_cache.cli import agent_mcp, client, trust
from computer_use_cache.cli.agent_files import AGENTS, Place, Plan
from computer_use_cache.cli.agent_mcp import MCP_AGENTS
from computer_use_cache.errors import FormatError
from computer_use_cache.settings import Settings


@click.command()
@click.argument("agent", type=click.Choice([*dict.fromkeys((*AGENTS, *MCP_AGENTS)), "all"]), default="all")
@click.option("--write", is_flag=True, help="Write the files. Without it nothing is changed.")
@click.option("--mcp", is_flag=True, help="Instead, let agents ask the cache about their runs (see `mcp`).")
@click.option("--ca", is_flag=True, help="Instead, show how this machine can trust mitmproxy's certificates.")
@click.option(
    "--dir",
    "project",
    type=click.Path(path_type=Path),
    default=".",
    help="The project folder, for files of a project.  [.]",
)
@client.address_options
@click.pass_context
def install(
    ctx: click.Context,
    agent: str,
    *,
    write: bool,
    mcp: bool,
    ca: bool,
    project: Path,
    host: str | None,
    port: str | None,
) -> None:
    """Point agents at the cache.

    Prints the lines that each agent's configuration file needs. Existing lines are never changed: a file that names
    another provider or URL, or that cannot be read, is left alone, and the reason is printed.
    """
    if ca and (write or mcp):
        raise click.UsageError("--ca only prints commands, which need an administrator; leave out --write and --mcp")
    if ca:
        trust.tell()
        return
    environment = client.environment(host, port)
    settings = Settings.load(environment)
    place = Place(client.address(settings), Path.home(), project, environment)
    plans = _plans(place, settings, mcp=mcp)
    if agent != "all" and agent not in plans:
        raise click.UsageError(f"{agent} can be configured {'without' if mcp else 'with'} --mcp only")
    if mcp and importlib.util.find_spec("mcp") is None:
        click.echo("By hand: the server needs an extra; in the cache's checkout: pip install '.[mcp]'")
    refused = False
    for name in plans if agent == "all" else [agent]:
        click.echo(f"== {name}")
        try:
            plan = plans[name]()
            if agent == "all" and plan.file and not plan.file.parent.is_dir():
                click.echo(f"{plan.file.parent} does not exist; `install {name} --write` creates it.")
            else:
                _carry_out(plan, write)
        except (FormatError, OSError) as error:
            click.echo(f"Error: {name}: {error}", err=True)
            refused = True
    ctx.exit(1 if refused else 0)


def _plans(place: Place, settings: Settings, *, mcp: bool) -> dict[str, Callable[[], Plan]]:
    """What makes the plan of each agent, for the MCP server or for the cache itself."""
    if mcp:
        server = agent_mcp.server(settings)
        return {name: partial(make, place, server) for name, make in MCP_AGENTS.items()}
    return {name: partial(make, place) for name, make in AGENTS.items()}


def _carry_out(plan: Plan, write: bool) -> None:
    if plan.file and plan.text is None:
        click.echo(f"{plan.file} is already configured.")
    elif plan.file and plan.text is not None:
        click.echo(f"{'Added' if write else '--write would add'} to {plan.file}:\n\n{plan.added}")
        if write:
            click.echo(_write(plan.file, plan.text))
    for step in plan.steps:
        click.echo(f"By hand: {step}")


def _write(file: Path, text: str) -> str:
    """Replace the file atomically, and return how to undo it."""
    # Resolved, because a symbolic link must stay one.
    file = file.resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with open(handle, "w", encoding="utf-8", newline="") as new:
        new.write(text)
    if not file.exists():
        os.replace(name, file)
        return f"To undo this: remove {file}"
    backup = file.with_name(f"{file.name}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
    shutil.copy2(file, backup)
    shutil.copymode(file, name)
    os.replace(name, file)
    return f"To undo this: restore {backup}, or remove these lines"
