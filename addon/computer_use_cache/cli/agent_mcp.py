"""The configuration with which each agent starts the cache's MCP server (`mcp`), computed without changing anything.

Like the store, the files are those of the project. Only Codex has one file for all projects.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from computer_use_cache.cli.agent_files import NAME, Place, Plan, json_plan, toml_plan, toml_table
from computer_use_cache.formats.base import Json
from computer_use_cache.settings import Settings

_APPROVAL = (
    "Approve the server when {} asks. Its tool `replay` runs commands that `run` recorded; the others only read."
)


def server(settings: Settings) -> Json:
    """How an agent starts the server from any folder, with this Python and the store of these settings."""
    if settings.store_url == "disk":
        environment = {"CACHE_DIR": str(Path(settings.dir).absolute())}
    else:
        environment = {"CACHE_STORE_URL": settings.store_url}
    return {"command": sys.executable, "args": ["-m", "computer_use_cache", "mcp"], "env": environment}


def _codex(place: Place, server: Json) -> Plan:
    # https://developers.openai.com/codex/mcp
    name = f"mcp_servers.{NAME}"
    members = {member: value for member, value in server.items() if member != "env"}
    tail = toml_table(name, members) + toml_table(f"{name}.env", server["env"])
    file = place.folder("CODEX_HOME", ".codex") / "config.toml"
    return toml_plan(file, {"mcp_servers": {NAME: server}}, "", tail)


def _claude_code(place: Place, server: Json) -> Plan:
    # https://code.claude.com/docs/en/mcp
    steps = (_APPROVAL.format("Claude Code"),)
    return json_plan(place.project / ".mcp.json", {"mcpServers": {NAME: server}}, steps)


def _cursor(place: Place, server: Json) -> Plan:
    # https://cursor.com/docs/mcp
    steps = (_APPROVAL.format("Cursor"),)
    return json_plan(place.project / ".cursor" / "mcp.json", {"mcpServers": {NAME: server}}, steps)


def _gemini_cli(place: Place, server: Json) -> Plan:
    # https://geminicli.com/docs/tools/mcp-server
    return json_plan(place.project / ".gemini" / "settings.json", {"mcpServers": {NAME: server}})


MCP_AGENTS: Mapping[str, Callable[[Place, Json], Plan]] = {
    "codex": _codex,
    "claude-code": _claude_code,
    "cursor": _cursor,
    "gemini-cli": _gemini_cli,
}
"""What plans the configuration of each agent. Raises FormatError for a file that cannot be added to safely, and
OSError."""
