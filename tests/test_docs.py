"""The documentation's tables against the code: everything that exists is documented, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from computer_use_cache import formats
from computer_use_cache.cache.policy import CONTROL_HEADERS
from computer_use_cache.cli import commands
from computer_use_cache.keys import normalizers
from computer_use_cache.keys import upstream as urls
from computer_use_cache.models import Reason, Skip
from computer_use_cache.setting_declaration import Declaration
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings
from support import Proxy, Upstream

BASE = BaseUrl("https://provider.example", "/v1")
CHECKOUT = Path(__file__).parents[1]
REFERENCE = CHECKOUT / "addon" / "README.md"
DOCUMENTS = [*(CHECKOUT / folder / "README.md" for folder in ("", "addon", "scripts", "tests"))]


def section(document: Path, heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    text = document.read_text(encoding="utf-8")
    [found] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


def rows(document: Path, heading: str) -> list[list[str]]:
    """The cells of the table in a section, without its head."""
    lines = [line for line in section(document, heading).splitlines() if line.startswith("| ")]
    return [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def code(cell: str) -> list[str]:
    """What a cell writes as code."""
    return re.findall(r"`([^`]+)`", cell)


def first_column(heading: str) -> list[str]:
    return [text for row in rows(REFERENCE, heading) for text in code(row[0])]


@pytest.mark.parametrize("declaration", list(Settings.declarations()), ids=lambda declared: declared.variables[0])
def test_every_setting_is_documented_as_it_is_declared(declaration: Declaration) -> None:
    variables = ", ".join(f"`{name}`" for name in declaration.variables)
    option = f"`{declaration.option}`" if declaration.option else "-"
    default = f"`{declaration.default}`" if declaration.default else ""
    assert f"| {variables} | {option} | {default} | {declaration.help} |" in section(REFERENCE, "Settings").splitlines()


def test_only_settings_that_exist_are_documented() -> None:
    declared = {name for declaration in Settings.declarations() for name in declaration.variables}
    assert set(first_column("Settings")) == declared


def test_every_cached_api_is_documented_with_its_routes() -> None:
    documented = {}
    for _, route, name in rows(REFERENCE, "Cached APIs"):
        path = code(route)[0].replace("<model>", "m")
        found = formats.match(path) or formats.match(urls.split(BASE.origin, urls.resolve(BASE, path), BASE)[1])
        assert found, path
        documented[found[0].name] = code(name)[0]
    assert documented == {format.name: format.name for format in formats.FORMATS}


def test_every_control_header_is_documented() -> None:
    named = {re.split("[:=]", text)[0].lower() for text in first_column("Controls") if re.match("[XC][a-z]*-", text)}
    assert named == set(CONTROL_HEADERS)


def test_every_normaliser_is_documented() -> None:
    assert first_column("Normalisers") == [*normalizers.NAMES, "s/regex/text/"]


def test_every_reason_is_documented() -> None:
    assert first_column("Reasons") == [str(reason) for reason in Reason]
    assert first_column("Skips") == [str(skip) for skip in Skip]


def test_every_command_is_documented_with_flags_that_it_has() -> None:
    documented = set()
    for cell, does in rows(REFERENCE, "Command line"):
        for text in code(cell):
            name = text.split()[0]
            command = commands.get_command(click.Context(commands), name)
            assert command, name
            documented.add(command.name)
            flags = {flag for parameter in command.params for flag in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", text + does.partition(";")[2])) - {"--help"} <= flags | {"--"}, text
    assert documented == set(commands.list_commands(click.Context(commands)))


def test_every_command_of_mitmproxys_is_documented() -> None:
    ui = pytest.importorskip("computer_use_cache.proxy.ui.commands", reason="mitmproxy is not installed")
    there = {found for member in vars(ui.Commands).values() if (found := getattr(member, "command_name", None))}
    assert {text.split()[0] for text in first_column("mitmweb") if text.startswith("cache.")} == there


def test_the_response_headers_are_those_of_the_table(proxy: Proxy) -> None:
    rebinds = {"x-cache-rebind": "on"}
    moved = [proxy.chat(f"It is 2026-11-26T10:00:0{second}Z.", rebinds) for second in range(2)]
    answers = [proxy.chat(), proxy.chat(), proxy.chat(cache=False), *moved]
    assert [answer.cache for answer in answers] == ["MISS", "HIT", "BYPASS", "MISS", "HIT"]
    sent = {name for answer in answers for name in answer.headers if re.match("x-comp|cache-|age|x-code", name)}
    documented = {name.lower() for name in first_column("Response headers") if re.match("(X-|Age|Cache-S)", name)}
    older = {"x-code-model-cache" + end for end in ("-key", "-store", "-age", "-bypass-reason")}
    assert sent == documented | older


def documented_routes() -> Iterator[tuple[str, str]]:
    for method, paths, _ in rows(REFERENCE, "Local routes"):
        for path in code(paths):
            yield method, path


def test_local_routes_are_answered_here_and_are_all_documented(proxy: Proxy, upstream: Upstream) -> None:
    for method, path in documented_routes():
        key = proxy.chat().headers["x-computer-use-cache-key"]  # stored again where a route has removed it
        asked = len(upstream.asked)
        answer = proxy.ask(method, path.replace("<key>", key))
        assert answer.status == 200, (method, path, answer.body)
        assert len(upstream.asked) == asked, "it did not reach the upstream"
    endpoints = [path.replace("{key}", "<key>") for path in proxy.ask("GET", "/").json()["endpoints"]]
    listed = {path for path in endpoints if not path.startswith("/v1")}
    assert listed <= {path for _, path in documented_routes()}


def test_the_routes_that_hide_the_upstreams_own_are_named() -> None:
    hidden = {path for method, path in documented_routes() if method == "GET" and "/cache/" not in path}
    text = section(REFERENCE, "Local routes").partition("|")[0]
    assert set(code(text)) == hidden


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (document.parent / name).resolve() if name else document
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, target


def test_the_readme_stays_short() -> None:
    assert len(DOCUMENTS[0].read_text(encoding="utf-8").splitlines()) <= 200


def test_every_script_is_documented() -> None:
    scripts = {path.name for path in (CHECKOUT / "scripts").iterdir() if path.is_file() and not path.suffix}
    listed = {code(cell)[0] for cell, _ in rows(CHECKOUT / "scripts" / "README.md", "Scripts")}
    assert listed == scripts - {"Dockerfile"}


def test_every_folder_of_tests_is_documented() -> None:
    folders = {path.name for path in (CHECKOUT / "tests").iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert {code(cell)[0] for cell, _ in rows(CHECKOUT / "tests" / "README.md", "Tests")} == folders
