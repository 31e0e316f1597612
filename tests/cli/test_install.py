from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from mitmproxy.certs import CertStore

import commands
from computer_use_cache.cli import main

FILES = {
    "codex": "home/.codex/config.toml",
    "claude-code": "home/.claude/settings.json",
    "cursor": ".cursor/rules/computer-use-cache.mdc",
    "openclaw": "home/.openclaw/openclaw.json",
}

USERS_TOML = '# mine\nmodel = "m"\n\n[model_providers.other]\nname = "o"\n\n[mcp_servers.x]\ncommand = "c"'
USERS_JSON = (
    '{\n    "z": [1, "é"],\n    "env": {\n        "OTHER": "kept"\n    },\n    "models": {"mode": "merge"}\n}\n'
)
USERS = {"codex": USERS_TOML, "claude-code": USERS_JSON, "openclaw": USERS_JSON}


@pytest.fixture(autouse=True)
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for variable in ("CODEX_HOME", "CLAUDE_CONFIG_DIR", "OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH"):
        monkeypatch.delenv(variable, raising=False)
    return f"http://127.0.0.1:{commands.isolate(monkeypatch, tmp_path)}"


def put(agent: str, text: str) -> Path:
    file = Path(FILES[agent])
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode())
    return file


def parsed(agent: str) -> object:
    text = Path(FILES[agent]).read_text()
    return tomllib.loads(text) if agent == "codex" else json.loads(text)


@pytest.mark.parametrize("agent", [*FILES, "hermes", "all"])
def test_without_write_nothing_is_touched(agent: str, tmp_path: Path) -> None:
    assert main(["install", agent]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("agent", [*FILES, "hermes"])
def test_what_is_printed_names_the_cache(agent: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["install", agent])
    assert url in capsys.readouterr().out


def test_codex_gets_its_own_provider(url: str) -> None:
    assert main(["install", "codex", "--write"]) == 0
    provider = {
        "name": "computer-use-cache",
        "base_url": url + "/v1",
        "env_key": "OPENAI_API_KEY",
        "wire_api": "responses",
    }
    expected = {"model_provider": "computer-use-cache", "model_providers": {"computer-use-cache": provider}}
    assert parsed("codex") == expected


def test_claude_code_gets_the_url_without_a_path(url: str) -> None:
    assert main(["install", "claude-code", "--write"]) == 0
    assert parsed("claude-code") == {"env": {"ANTHROPIC_BASE_URL": url}}


def test_openclaw_gets_a_provider(url: str) -> None:
    assert main(["install", "openclaw", "--write"]) == 0
    provider = {"baseUrl": url + "/v1", "apiKey": "unused", "api": "openai-completions", "models": []}
    assert parsed("openclaw") == {"models": {"providers": {"computer-use-cache": provider}}}


@pytest.mark.parametrize(("agent", "text"), USERS.items())
def test_what_a_file_said_before_it_still_says(agent: str, text: str) -> None:
    file = put(agent, text)
    before = parsed(agent)
    assert main(["install", agent, "--write"]) == 0
    after = parsed(agent)

    def holds(new: object, old: object) -> bool:
        if isinstance(old, dict):
            return isinstance(new, dict) and all(name in new and holds(new[name], old[name]) for name in old)
        return new == old

    assert after != before
    assert holds(after, before)
    (backup,) = file.parent.glob("*.bak")
    assert backup.read_bytes() == text.encode()


@pytest.mark.parametrize("agent", FILES)
def test_installing_twice_is_installing_once(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["install", agent, "--write"])
    first = Path(FILES[agent]).read_bytes()
    capsys.readouterr()
    assert main(["install", agent, "--write"]) == 0
    assert "is already configured" in capsys.readouterr().out
    assert Path(FILES[agent]).read_bytes() == first
    assert len(list(Path(FILES[agent]).parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        ("codex", 'model_provider = "other"\n'),
        ("codex", "model = \n"),
        ("codex", 'model_providers = {other = {name = "o"}}\n'),
        ("codex", 'model_provider = "computer-use-cache"\n'),
        ("codex", '[model_providers.computer-use-cache]\nbase_url = "http://elsewhere"\n'),
        ("claude-code", '{"env": {"ANTHROPIC_BASE_URL": "http://elsewhere"}}'),
        ("claude-code", '{"env": "none"}'),
        ("claude-code", "[]"),
        ("openclaw", "{\n  // JSON5\n  models: {},\n}"),
        ("cursor", "my own rule\n"),
    ],
)
def test_a_file_that_cannot_be_added_to_safely_is_left_alone(
    agent: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = put(agent, text)
    assert main(["install", agent, "--write"]) == 1
    assert file.read_bytes() == text.encode()
    assert list(file.parent.iterdir()) == [file]
    assert str(file) in capsys.readouterr().err


def test_a_file_that_is_not_utf8_is_left_alone() -> None:
    file = put("codex", "")
    file.write_bytes(b"# \xff\n")
    assert main(["install", "codex", "--write"]) == 1
    assert file.read_bytes() == b"# \xff\n"


def test_line_ends_of_windows_stay() -> None:
    file = put("codex", 'model = "m"\r\n')
    assert main(["install", "codex", "--write"]) == 0
    assert b'model = "m"\r\n' in file.read_bytes()


def test_a_link_stays_a_link_and_the_mode_stays() -> None:
    kept = Path("dotfiles.json").absolute()
    kept.write_text("{}")
    kept.chmod(0o640)
    file = Path(FILES["claude-code"])
    file.parent.mkdir(parents=True)
    file.symlink_to(kept)
    assert main(["install", "claude-code", "--write"]) == 0
    assert file.is_symlink()
    assert "ANTHROPIC_BASE_URL" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o640


def test_secrets_of_the_file_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    put("claude-code", '{"env": {"ANTHROPIC_AUTH_TOKEN": "hidden-value"}}')
    main(["install", "claude-code", "--write"])
    assert "hidden-value" not in capsys.readouterr().out


def test_all_writes_for_the_agents_that_are_here_and_one_refusal_does_not_stop_the_rest() -> None:
    put("codex", 'model_provider = "other"\n')
    put("claude-code", "{}")
    assert main(["install", "all", "--write"]) == 1
    assert "ANTHROPIC_BASE_URL" in Path(FILES["claude-code"]).read_text()
    assert not Path(FILES["openclaw"]).exists()


def test_the_folder_that_an_agents_variable_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_HOME", "elsewhere")
    assert main(["install", "codex", "--write"]) == 0
    assert Path("elsewhere/config.toml").is_file()


# -- the MCP server

SERVER = {"command": sys.executable, "args": ["-m", "computer_use_cache", "mcp"]}
SERVER_FILES = {
    "codex": ("home/.codex/config.toml", "mcp_servers"),
    "claude-code": (".mcp.json", "mcpServers"),
    "cursor": (".cursor/mcp.json", "mcpServers"),
    "gemini-cli": (".gemini/settings.json", "mcpServers"),
}


@pytest.mark.parametrize("agent", SERVER_FILES)
def test_an_agent_is_given_the_server_beside_its_others_and_only_once(agent: str, tmp_path: Path) -> None:
    name, member = SERVER_FILES[agent]
    file, read = Path(name), tomllib.loads if agent == "codex" else json.loads
    others = '[mcp_servers.x]\ncommand = "c"' if agent == "codex" else '{"mcpServers": {"x": {"command": "c"}}}'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(others)
    assert main(["install", agent, "--mcp"]) == 0
    assert file.read_text() == others, "it was only shown"
    assert main(["install", agent, "--mcp", "--write"]) == main(["install", agent, "--mcp", "--write"]) == 0
    server = SERVER | {"env": {"CACHE_DIR": f"{tmp_path}/.computer-use-cache"}}
    assert read(file.read_text()) == {member: {"x": {"command": "c"}, "computer-use-cache": server}}
    (backup,) = file.parent.glob(f"{file.name}*.bak")
    assert backup.read_text() == others


def test_the_server_reads_the_store_that_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_STORE_URL", "redis://team.example:6379/0")
    assert main(["install", "claude-code", "--mcp", "--write"]) == 0
    servers = json.loads(Path(".mcp.json").read_text())["mcpServers"]
    assert servers["computer-use-cache"]["env"] == {"CACHE_STORE_URL": "redis://team.example:6379/0"}


def test_another_server_of_the_same_name_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".mcp.json").write_text('{"mcpServers": {"computer-use-cache": {"command": "other"}}}')
    assert main(["install", "claude-code", "--mcp", "--write"]) == 1
    assert "another command" in capsys.readouterr().err
    assert "other" in Path(".mcp.json").read_text()


def test_the_server_says_which_extra_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "computer_use_cache.cli.mcp_server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.server.fastmcp", None)
    assert main(["mcp"]) == 1
    assert "pip install '.[mcp]'" in capsys.readouterr().err


@pytest.mark.parametrize(("agent", "flags"), [("hermes", ["--mcp"]), ("gemini-cli", [])])
def test_what_an_agent_cannot_be_given_is_wrong_usage(agent: str, flags: list[str]) -> None:
    assert main(["install", agent, *flags]) == 2


# -- trust in mitmproxy's authority


@pytest.fixture
def certificate() -> Path:
    """mitmproxy's authority, as mitmproxy makes it; the certificate."""
    CertStore.from_store("home/.mitmproxy", "mitmproxy", 2048)
    return Path("home/.mitmproxy/mitmproxy-ca-cert.pem").absolute()


@pytest.mark.parametrize("trusted", [False, True])
def test_programs_are_tested_for_trust_in_the_authority(
    trusted: bool, certificate: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        monkeypatch.delenv(name, raising=False)
        if trusted:
            monkeypatch.setenv(name, str(certificate))
    assert main(["install", "--ca"]) == 0
    told = capsys.readouterr().out
    assert str(certificate) in told
    found = dict(re.findall(r"^  (\w+): (trusts it|does not trust it)$", told, re.MULTILINE))
    if not found:
        pytest.skip("no program of this machine can be asked")
    assert set(found.values()) == {"trusts it" if trusted else "does not trust it"}
    monkeypatch.setenv("CACHE_MODE", "offline")
    assert main(["doctor"]) == 0
    assert f"trusted by {', '.join(found)}" in capsys.readouterr().out


def test_an_authority_that_is_of_no_use_is_said(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate.write_text("damaged")
    for arguments in (["install", "--ca"], ["doctor"]):
        monkeypatch.setenv("CACHE_MODE", "offline")
        assert main(arguments) == 1


def test_before_mitmproxy_made_its_authority_there_is_nothing_to_trust(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--ca"]) == 1
    assert "start the cache once" in capsys.readouterr().err
    assert main(["install", "--ca", "--write"]) == 2
    assert not Path("home/.mitmproxy").exists()
