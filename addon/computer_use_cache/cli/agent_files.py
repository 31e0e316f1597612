"""The configuration that each agent needs to use the cache, computed without changing anything.

The user's files are only ever added to. A file that already has another value in the same place, or that cannot be
read, is refused.
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

_KEY_STEP = "Start the cache with UPSTREAM_API_KEY, or put your key in place of `unused`."
NAME = "computer-use-cache"
"""The name of the provider in agents' files."""


@dataclass(frozen=True, slots=True)
class Place:
    """The cache's URL, without a path, and the folders and variables that agents read."""

    url: str
    home: Path
    project: Path
    environment: Mapping[str, str]

    def folder(self, variable: str, default: str) -> Path:
        """The folder named by an environment variable, else `default` below the home folder."""
        return Path(self.environment.get(variable) or self.home / default)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one agent. `steps` are left to the user; `added` are the new lines of its configuration `file`.

    `text` is the whole new file, None if it needs no change. `file` is None for an agent that has no file to write.
    """

    steps: tuple[str, ...]
    file: Path | None = None
    added: str = ""
    text: str | None = None


def _codex(place: Place) -> Plan:
    # https://developers.openai.com/codex/config-advanced. A separate provider, because the names of the built-in
    # ones are reserved. `model_provider` is a root key and must come before all tables.
    file = place.folder("CODEX_HOME", ".codex") / "config.toml"
    provider = {"name": NAME, "base_url": place.url + "/v1", "env_key": "OPENAI_API_KEY", "wire_api": "responses"}
    head = f'# {NAME}: this line and the table at the end of the file\nmodel_provider = "{NAME}"\n'
    tail = toml_table(f"model_providers.{NAME}", provider)
    steps = (
        "Codex sends OPENAI_API_KEY: start the cache with --upstream https://api.openai.com/v1.",
        "Its requests contain values that change with every session. To get hits in later sessions, also pass "
        "--cache-rebind on --cache-bind cwd=FOLDER, the folder in which Codex works.",
    )
    return toml_plan(file, {"model_provider": NAME, "model_providers": {NAME: provider}}, head, tail, steps)


def _claude_code(place: Place) -> Plan:
    # https://code.claude.com/docs/en/llm-gateway. It appends /v1/messages to the URL itself.
    file = place.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json"
    steps = ("Start the cache with --upstream https://api.anthropic.com/v1.",)
    return json_plan(file, {"env": {"ANTHROPIC_BASE_URL": place.url}}, steps)


def _cursor(place: Place) -> Plan:
    # https://docs.cursor.com/context/rules. For programs that it runs; its own model calls come from its servers.
    file = place.project / ".cursor" / "rules" / f"{NAME}.mdc"
    text = (
        "---\ndescription: Model API calls go through a local cache\nalwaysApply: true\n---\n"
        f"Programs that call a model API run with OPENAI_BASE_URL={place.url}/v1 and ANTHROPIC_BASE_URL={place.url}.\n"
        "Keep their requests the same from run to run, because identical requests are answered from the cache.\n"
        "Put no credentials into prompts.\n"
    )
    steps = (
        "Cursor's own models: Settings > Models > Override OpenAI Base URL. Cursor's servers make these calls, so they "
        "need an address that they can reach (a tunnel, with CACHE_CLIENT_TOKEN set), not a loopback address.",
    )
    old = _old_text(file)
    if old and old != text:
        raise FormatError(f"{file} has other content; remove it, or change it by hand")
    return Plan(steps, file, text, None if old else text)


def _openclaw(place: Place) -> Plan:
    # https://docs.openclaw.ai/gateway/config-tools/custom-providers
    state = place.folder("OPENCLAW_STATE_DIR", ".openclaw")
    file = Path(place.environment.get("OPENCLAW_CONFIG_PATH") or state / "openclaw.json")
    provider = {"baseUrl": place.url + "/v1", "apiKey": "unused", "api": "openai-completions", "models": []}
    steps = (
        f"openclaw models set {NAME}/<model>",
        _KEY_STEP,
    )
    return json_plan(file, {"models": {"providers": {NAME: provider}}}, steps)


def _hermes(place: Place) -> Plan:
    # https://hermes-agent.nousresearch.com/docs/integrations/providers. Its own command keeps the comments in its YAML.
    values = {"model.provider": "custom", "model.base_url": place.url + "/v1", "model.api_key": "unused"}
    commands = tuple(f"hermes config set {name} {value}" for name, value in values.items())
    return Plan((*commands, _KEY_STEP))


AGENTS: Mapping[str, Callable[[Place], Plan]] = {
    "codex": _codex,
    "claude-code": _claude_code,
    "cursor": _cursor,
    "openclaw": _openclaw,
    "hermes": _hermes,
}
"""What plans the configuration of each agent. Raises FormatError for a file that cannot be added to safely, and
OSError."""


def toml_table(name: str, members: Mapping[str, object]) -> str:
    """A table of TOML as it is added to the end of a file."""
    lines = "".join(f"{member} = {json.dumps(value, ensure_ascii=False)}\n" for member, value in members.items())
    return f"\n# {NAME}\n[{name}]\n{lines}"


def toml_plan(file: Path, wanted: Json, head: str, tail: str, steps: tuple[str, ...] = ()) -> Plan:
    """The plan that puts `head` before and `tail` after the text of a TOML file, which together set what is `wanted`.
    Raises FormatError if the file disagrees, or if the result would set anything else."""
    old = _old_text(file)
    try:
        merged = _merged(tomllib.loads(old), wanted, file)
        if merged is None:
            return Plan(steps, file)
        text = f"{head}{old}{'' if old.endswith('\n') or not old else '\n'}{tail}"
        if tomllib.loads(text) != merged:
            raise FormatError(f"{file} already has a part of this; add the rest by hand")
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{file} cannot be added to safely: {error}") from None
    return Plan(steps, file, head + tail, text)


def json_plan(file: Path, wanted: Json, steps: tuple[str, ...] = ()) -> Plan:
    """The plan that adds what is `wanted` to a JSON file. Raises FormatError if the file disagrees."""
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
    """`content` with what is `wanted` added, None if it is all there. Raises FormatError if they disagree."""
    changed = {name: value for name, value in wanted.items() if name not in content}
    for name in wanted.keys() & content.keys():
        here, value = content[name], wanted[name]
        if isinstance(here, dict) and isinstance(value, dict):
            inner = _merged(here, value, file)
            if inner is not None:
                changed[name] = inner
        elif here != value:
            raise FormatError(f"{file} has another {name}; change it to {value!r} yourself")
    return content | changed if changed else None


def _old_text(file: Path) -> str:
    try:
        # Not read_text, which converts Windows line endings.
        return file.read_bytes().decode() if file.exists() else ""
    except UnicodeDecodeError:
        raise FormatError(f"{file} is not UTF-8") from None
