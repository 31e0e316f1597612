"""`doctor`: checks whether `start` would work here, and lists the settings it would have. Secrets are never printed."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from computer_use_cache.cli import client, reach
from computer_use_cache.cli.misspelt import meant
from computer_use_cache.errors import CacheError, SettingError
from computer_use_cache.launch import authority, launcher, trust
from computer_use_cache.network import Proxies
from computer_use_cache.setting_declaration import Declaration
from computer_use_cache.setting_values import Mode
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from computer_use_cache.units import counted


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    ok: bool
    detail: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print checks and settings as JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check what `start` needs, and list every setting.

    Exits with 1 if something would not work. Secrets are never printed.
    """
    checks = list(_checks())
    settings = [_setting(item) for item in Settings.declarations()]
    ok = all(check.ok for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": ok, "checks": [asdict(check) for check in checks], "settings": settings}))
    else:
        _print(checks, settings)
    ctx.exit(0 if ok else 1)


def _checks() -> Iterator[_Check]:
    yield _Check("python", sys.version_info >= (3, 12), f"{platform.python_version()} (3.12 or later is needed)")
    yield _mitmproxy()
    entry = launcher.entry_path()
    yield _authority()
    yield _Check("entry", entry.is_file(), f"{entry}" if entry.is_file() else f"{entry} is missing; install again")
    try:
        settings = Settings.load(os.environ)
        settings.check_exposure([settings.host])
        Proxies.from_environment(os.environ)
    except SettingError as error:
        # Nothing below can be said without settings.
        yield _Check("settings", False, str(error))
        return
    yield _Check("settings", True, f"every value is allowed{_misspelt()}")
    yield _port(settings)
    yield _store(settings)
    yield _upstream(settings)
    yield _key(settings)


def _misspelt() -> str:
    """Names variables that are almost those of settings. They may be another program's, so they are no failure."""
    known = [name for item in Settings.declarations() for name in item.variables]
    found = ((name, meant(name, known)) for name in os.environ if name.startswith("CACHE_") and name not in known)
    return "".join(f"; {name} is not a setting: did you mean {hint}?" for name, hint in found if hint)


def _mitmproxy() -> _Check:
    try:
        version = metadata.version("mitmproxy")
    except metadata.PackageNotFoundError:
        return _Check("mitmproxy", False, "not installed; install computer-use-cache again")
    ok = (12, 2) <= tuple(map(int, version.split(".")[:2])) < (13, 0)
    return _Check("mitmproxy", ok, f"{version} (12.2 or a later 12 is needed)")


def _authority() -> _Check:
    folder = trust.FOLDER.expanduser()
    try:
        found = authority.load(folder)
        if found is None:
            return _Check("authority", True, f"mitmproxy creates one in {folder} when it starts")
        programs = authority.trusting(found)
    except CacheError as error:
        return _Check("authority", False, str(error))
    except ModuleNotFoundError:
        return _Check("authority", False, "cannot be checked without mitmproxy")
    until = f"{found.certificate}, valid until {found.valid_until:%Y-%m-%d}"
    if found.valid_until < datetime.now(UTC):
        return _Check("authority", False, f"{until}: remove mitmproxy-ca* there, so that mitmproxy creates a new one")
    distrusting = ", ".join(name for name, trusts in programs.items() if not trusts)
    # `run` and reverse mode work without it.
    hint = f"not trusted by {distrusting}, which only interception without `run` needs: see `install --ca`"
    return _Check("authority", True, f"{until}, {hint if distrusting else 'trusted by ' + ', '.join(programs)}")


def _port(settings: Settings) -> _Check:
    url = client.address(settings)
    if client.health(url, settings):
        return _Check("port", True, f"a cache is running at {url}")
    try:
        client.check_address(settings)
    except SettingError as error:
        return _Check("port", False, str(error))
    return _Check("port", True, f"{url} is free")


def _store(settings: Settings) -> _Check:
    folder = Path(settings.dir)
    if settings.store_url == "disk" and not folder.exists():
        parent = next(parent for parent in folder.resolve().parents if parent.exists())
        ok = os.access(parent, os.W_OK | os.X_OK)
        return _Check("store", ok, f"{folder} will be created" if ok else f"{parent} is not writable; set CACHE_DIR")
    try:
        with contextlib.closing(open_store(settings)) as store:
            if settings.mode in (Mode.READONLY, Mode.OFFLINE):
                entries = store.size().entries
                can = f"{settings.store_place} can be read ({counted(entries, 'entry', 'entries')})"
                return _Check("store", True, f"{can}, which is enough for CACHE_MODE={settings.mode}")
            store.probe()
    except CacheError as error:
        return _Check("store", False, str(error))
    if settings.store_url != "disk":
        return _Check("store", True, f"{settings.store_url} can be written")
    return _Check("store", True, f"{folder} is writable, mode {stat.S_IMODE(folder.stat().st_mode):04o}")


def _upstream(settings: Settings) -> _Check:
    url = str(settings.upstream_base_url)
    if settings.mode is Mode.OFFLINE:
        return _Check("upstream", True, f"{url} is not asked in CACHE_MODE=offline")
    try:
        status = reach.status_of_upstream(settings)
    except CacheError as error:
        return _Check("upstream", False, str(error))
    hint = "" if status != 404 or settings.upstream_base_url.path else "; most APIs need /v1 at the end"
    return _Check("upstream", True, f"{url} answers ({status}){hint}")


def _key(settings: Settings) -> _Check:
    declared = Settings.declaration("upstream_api_key")
    if variable := declared.variable_in(os.environ):
        origin = settings.upstream_base_url.origin
        return _Check("key", True, f"{variable} is sent to {origin} in place of the client's key")
    if settings.client_token:
        return _Check("key", True, "not set; clients send a token of the cache, so the upstream gets no key")
    return _Check("key", True, "not set; the client's key is forwarded")


def _setting(item: Declaration) -> dict[str, str]:
    text, source = item.text_from(os.environ), item.variable_in(os.environ) or "default"
    shown = "(set, not shown)" if item.is_secret(text) else text
    return {"name": item.variables[0], "option": item.option or "", "value": shown, "source": source}


def _print(checks: list[_Check], settings: list[dict[str, str]]) -> None:
    for check in checks:
        click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
    table = Table("setting", "value", "from")
    for setting in settings:
        table.add_row(setting["name"], setting["value"], setting["source"])
    Console().print(table)
