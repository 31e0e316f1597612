"""Imports point one way: the table below is the architecture's, and the core runs where mitmproxy is not installed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "addon" / "computer_use_cache"
VALUES = {"errors", "memory", "models", "run_models", "setting_values", "setting_declaration", "store_url", "units"}
BELOW_CACHE = VALUES | {
    "screens",
    "formats",
    "keys",
    "rebinding",
    "credentials",
    "settings",
    "store",
    "network",
}
CORE = BELOW_CACHE | {
    *("cache", "flights", "accounting", "diagnosis", "runs", "report", "transfer", "exchange"),
    "responses_websocket",
}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": {"models"},
    "memory": set(),
    "models": set(),
    "run_models": {"models"},
    "setting_values": {"errors", "store_url"},
    "setting_declaration": {"errors", "setting_values"},
    "store_url": set(),
    "units": set(),
    "formats": VALUES,
    "screens": VALUES | {"formats"},
    "keys": VALUES | {"formats", "screens", "settings"},
    "rebinding": VALUES | {"formats", "screens", "keys"},
    "credentials": VALUES | {"formats"},
    "network": VALUES,
    "settings": VALUES | {"keys", "rebinding", "screens"},
    "store": VALUES | {"settings"},
    "cache": BELOW_CACHE | {"accounting"},
    "flights": BELOW_CACHE | {"cache"},
    "accounting": BELOW_CACHE | {"cache"},
    "diagnosis": BELOW_CACHE | {"cache", "accounting"},
    "runs": BELOW_CACHE | {"cache", "accounting", "diagnosis"},
    "report": BELOW_CACHE | {"cache", "accounting", "diagnosis", "runs"},
    "transfer": BELOW_CACHE | {"cache", "accounting", "diagnosis"},
    "responses_websocket": BELOW_CACHE,
    "exchange": BELOW_CACHE | {"cache", "flights", "accounting", "diagnosis", "runs"},
    "proxy": CORE | {"__init__"},
    "launch": VALUES | {"settings", "store", "network", "proxy", "__init__"},
    "demo": set(),
    "testing": CORE | {"launch"},
    "pytest_plugin": {"testing"},
    "cli": CORE | {"demo", "launch", "__init__", "proxy.captures"},
}
"""Which parts of this package a module or folder may import besides itself; a new one must be given its place here."""
HEIGHTS = {"session": 1, "ui": 2, "upkeep": 2, "addon": 3}
"""The inside of proxy/: a part imports nothing that is above it. Everything that is not named here is below all."""
STRANGERS = {"http", "fast_path", "ui"}
"""Folders of proxy/ that do not know each other."""
LIBRARIES = {
    "mitmproxy": {"proxy", "launch"},
    "pytest": {"testing/pytest_plugin.py"},
    "click": {"cli"},
    "rich": {"cli"},
    "jinja2": {"report/render.py"},
    "diskcache": {"store/sqlite.py", "store/raw_disk.py", "store/read_only.py", "store/sqlite_failures.py"},
    "genai_prices": {"accounting/prices.py"},
    "redis": {"store/redis_map.py", "store/redis_servers.py"},
    "botocore": {"proxy/signing.py"},
    "opentelemetry": {"accounting/spans.py"},
    "mcp": {"cli/mcp_server.py"},
    "PIL": {"screens"},
    "re2": {"keys/normalizers.py", "credentials/forms.py", "rebinding/kinds.py"},
    "redact_secret": {"credentials/detection.py"},
}
"""Where a library may be imported: a folder, or one file."""
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    """The full names that a file imports, wherever in it: modules, and what is taken from them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {file}"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def own_parts(file: Path) -> set[str]:
    """The parts of this package that a file imports: `store`, `proxy.launch`."""
    parts = set()
    for name in imports(file):
        first, _, rest = name.partition(".")
        if first == PACKAGE.name:
            words = rest.split(".") if rest else ["__init__"]
            is_part = (PACKAGE / words[0]).is_dir() or (PACKAGE / f"{words[0]}.py").exists()
            parts.add(".".join(words[: 2 if words[0] == "proxy" else 1]) if is_part else "__init__")
    return parts


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_module_imports_only_what_lies_below_it(file: Path) -> None:
    own = file.parts[0].removesuffix(".py")
    allowed = MAY_IMPORT[own] | {own}
    assert {part for part in own_parts(file) if part not in allowed and part.partition(".")[0] not in allowed} == set()


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "proxy"], ids=str)
def test_inside_the_proxy_imports_point_one_way(file: Path) -> None:
    own = file.parts[1].removesuffix(".py")
    imported = {part.partition(".")[2] for part in own_parts(file) if part.startswith("proxy.")} - {own}
    assert {part for part in imported if HEIGHTS.get(part, 0) > HEIGHTS.get(own, 0)} == set()
    assert own not in STRANGERS or not imported & STRANGERS


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_library_is_imported_in_its_place_only(file: Path) -> None:
    for library in {name.partition(".")[0] for name in imports(file)} & LIBRARIES.keys():
        assert LIBRARIES[library] & {file.parts[0], file.as_posix()}, library


WITHOUT = """
import importlib, sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Refusal())
for name in {modules!r}:
    importlib.import_module(name)
"""


def modules(parts: set[str]) -> list[str]:
    """The modules of these parts, except those whose library is optional."""
    optional = ("store/redis.py", "accounting/spans.py", "cli/mcp_server.py")
    chosen = [file for file in FILES if file.parts[0].removesuffix(".py") in parts and file.as_posix() not in optional]
    return [".".join((PACKAGE.name, *file.with_suffix("").parts)).removesuffix(".__init__") for file in chosen]


@pytest.mark.parametrize(
    ("parts", "refused"),
    [
        pytest.param(CORE | {"__init__"}, ("mitmproxy", "click", "rich"), id="the core"),
        pytest.param({"cli"}, ("mitmproxy",), id="the command line"),
    ],
)
def test_it_can_be_imported_where_mitmproxy_is_not_installed(parts: set[str], refused: tuple[str, ...]) -> None:
    script = WITHOUT.format(refused=refused, modules=modules(parts))
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
