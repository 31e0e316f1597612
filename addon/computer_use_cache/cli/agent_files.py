"""What each agent must be told to use the cache, worked out without touching anything.

A file of the user's is only ever added to: what it says already stays as it is, and a file that says something else
at the same place, or that cannot be read, is refused.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json

NAME = "computer-use-cache"
"""The provider's name in the agents' own files."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are: the cache's URL without a path, and the folders and variables that agents look in."""

    url: str
    home: Path
    project: Path
    environment: Mapping[str, str]

    def folder(self, variable: str, default: str) -> Path:
        """The folder that an environment variable names, else one below the home folder."""
        return Path(self.environment.get(variable) or self.home / default)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one agent: `added` is what its `file` is to say besides, `steps` are left to the user.

    `text` is the whole new file, None where it says so already; `file` is None for an agent without one to write.
    """

    steps: tuple[str, ...]
    file: Path | None = None
    added: str = ""
    text: str | None = None


def _codex(place: Place) -> Plan:
    # https://developers.openai.com/codex/config-advanced: a provider of its own, because the built-in one uses
    # websockets, which are not cached; `model_provider` is a root key, and those come before every table.
    file = place.folder("CODEX_HOME", ".codex") / "config.toml"
    provider = {"name": NAME, "base_url": place.url + "/v1", "env_key": "OPENAI_API_KEY", "wire_api": "responses"}
    head = f'# {NAME}: this line and the table at the end of the file\nmodel_provider = "{NAME}"\n'
    table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in provider.items())
    tail = f"\n# {NAME}\n[model_providers.{NAME}]\n{table}"
    steps = (
        "Codex sends OPENAI_API_KEY: start the cache with --upstream https://api.openai.com/v1.",
        "Its requests hold what moves from session to session; so that another one has hits, start it also with "
        "--cache-ignore-keys 'client_metadata,/input/*/id,/input/*/internal_chat_message_metadata_passthrough' "
        r"--cache-normalize 's/Chunk ID: \w+/Chunk ID/,s/Wall time: [0-9.]+/Wall time/'.",
    )
    old = _old_text(file)
    wanted = {"model_provider": NAME, "model_providers": {NAME: provider}}
    try:
        merged = _merged(tomllib.loads(old), wanted, file)
        text = f"{head}{old}{'' if old.endswith('\n') or not old else '\n'}{tail}"
        if merged is None:
            return Plan(steps, file)
        if tomllib.loads(text) != merged:
            raise FormatError(f"{file} says a part of this already; add the rest by hand")
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{file} cannot be added to safely: {error}") from None
    return Plan(steps, file, head + tail, text)


def _claude_code(place: Place) -> Plan:
    # https://code.claude.com/docs/en/llm-gateway: it puts /v1/messages behind the URL itself.
    file = place.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json"
    steps = ("Start the cache with --upstream https://api.anthropic.com/v1.",)
    return _json_plan(file, {"env": {"ANTHROPIC_BASE_URL": place.url}}, steps)


def _cursor(place: Place) -> Plan:
    # https://docs.cursor.com/context/rules: for the programs it runs. Its own model calls leave from its servers.
    file = place.project / ".cursor" / "rules" / f"{NAME}.mdc"
    text = (
        "---\ndescription: Model API calls go through a local cache\nalwaysApply: true\n---\n"
        f"Programs that call a model API run with OPENAI_BASE_URL={place.url}/v1 and ANTHROPIC_BASE_URL={place.url}.\n"
        "Keep their requests the same from run to run: equal requests are answered from the cache.\n"
        "Put no credentials into prompts.\n"
    )
    steps = (
        "Cursor's own models: Settings > Models > Override OpenAI Base URL. Cursor's servers make these calls, so it "
        "takes an address they can reach (a tunnel, with CACHE_CLIENT_TOKEN set), not a loopback one.",
    )
    old = _old_text(file)
    if old and old != text:
        raise FormatError(f"{file} says something else; remove it, or change it by hand")
    return Plan(steps, file, text, None if old else text)


def _openclaw(place: Place) -> Plan:
    # https://docs.openclaw.ai/gateway/config-tools/custom-providers
    state = place.folder("OPENCLAW_STATE_DIR", ".openclaw")
    file = Path(place.environment.get("OPENCLAW_CONFIG_PATH") or state / "openclaw.json")
    provider = {"baseUrl": place.url + "/v1", "apiKey": "unused", "api": "openai-completions", "models": []}
    steps = (
        f"openclaw models set {NAME}/<model>",
        "Give the cache the key, as UPSTREAM_API_KEY; or put it in the place of `unused`.",
    )
    return _json_plan(file, {"models": {"providers": {NAME: provider}}}, steps)


def _hermes(place: Place) -> Plan:
    # https://hermes-agent.nousresearch.com/docs/integrations/providers; its own command keeps the comments of its YAML.
    values = {"model.provider": "custom", "model.base_url": place.url + "/v1", "model.api_key": "unused"}
    commands = tuple(f"hermes config set {name} {value}" for name, value in values.items())
    return Plan((*commands, "Give the cache the key, as UPSTREAM_API_KEY; or put it in the place of `unused`."))


AGENTS: Mapping[str, Callable[[Place], Plan]] = {
    "codex": _codex,
    "claude-code": _claude_code,
    "cursor": _cursor,
    "openclaw": _openclaw,
    "hermes": _hermes,
}
"""The plan for each agent; each raises FormatError for a file that cannot be added to safely, and OSError."""


def _json_plan(file: Path, wanted: Json, steps: tuple[str, ...]) -> Plan:
    old = _old_text(file)
    try:
        content = json.loads(old or "{}")
    except ValueError as error:
        raise FormatError(f"{file} is not plain JSON ({error}); add this by hand: {json.dumps(wanted)}") from None
    if not isinstance(content, dict):
        raise FormatError(f"{file} is not a JSON object")
    merged = _merged(content, wanted, file)
    if merged is None:
        return Plan(steps, file)
    indent = re.search(r"^([ \t]+)", old, re.MULTILINE)
    text = json.dumps(merged, indent=indent[1] if indent else 2, ensure_ascii=False) + "\n"
    return Plan(steps, file, json.dumps(wanted, indent=2) + "\n", text)


def _merged(content: Json, wanted: Json, file: Path) -> Json | None:
    """`content` and what is `wanted`, None when it is all there; FormatError where they disagree."""
    changed = {name: value for name, value in wanted.items() if name not in content}
    for name in wanted.keys() & content.keys():
        here, value = content[name], wanted[name]
        if isinstance(here, dict) and isinstance(value, dict):
            inner = _merged(here, value, file)
            if inner is not None:
                changed[name] = inner
        elif here != value:
            raise FormatError(f"{file} has another {name}; to change it to {value!r} is left to you")
    return content | changed if changed else None


def _old_text(file: Path) -> str:
    try:
        # Not read_text: it would turn the line ends of Windows into others.
        return file.read_bytes().decode() if file.exists() else ""
    except UnicodeDecodeError:
        raise FormatError(f"{file} is not UTF-8") from None
