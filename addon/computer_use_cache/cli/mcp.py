"""`mcp`: an MCP server over stdio, with which agents inspect their runs and their misses."""

from __future__ import annotations

import click


@click.command("mcp")
def serve_mcp() -> None:
    """Serve the commands about runs to agents, over stdio.

    The agent starts this itself: `install --mcp` adds it to the configurations of agents.
    """
    try:
        from computer_use_cache.cli.mcp_server import server  # noqa: PLC0415  # its library is optional
    except ModuleNotFoundError:
        raise click.ClickException(
            "the server needs the mcp package; in the cache's checkout: pip install '.[mcp]'"
        ) from None
    server.run()
