"""`start`: everything that can be refused is refused before mitmproxy is loaded."""

from __future__ import annotations

import os
import sys

import click

from computer_use_cache.cli import call_lines, client, options
from computer_use_cache.errors import SettingError
from computer_use_cache.launch import launcher
from computer_use_cache.run_models import CALL_LINES
from computer_use_cache.setting_declaration import is_own_address
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store


@click.command()
@options.setting_flags(address=True)
@click.option("--web", is_flag=True, help="Show requests, hits and misses in a browser (mitmweb).")
@click.option("-q", "--quiet", is_flag=True, help="Print no line per call.")
@click.option("--log-json", is_flag=True, help="Print the lines as JSON; everything else goes to standard error.")
@click.argument("mitmproxy_arguments", nargs=-1, type=click.UNPROCESSED)
def start(
    *,
    web: bool,
    quiet: bool,
    log_json: bool,
    pairs: tuple[str, ...],
    mitmproxy_arguments: tuple[str, ...],
    **flags: str | None,
) -> int:
    """Run the cache in front of a model API (also: serve, proxy).

    Clients use http://HOST:PORT/v1 as their base URL. Prints a line per call. Keys and tokens are read from the
    environment only: UPSTREAM_API_KEY, CACHE_CLIENT_TOKEN, CACHE_ADMIN_TOKEN. Arguments after -- go to mitmproxy.
    """
    settings, texts, own = options.given(flags, pairs)
    own += mitmproxy_arguments
    settings.check_exposure([settings.host])
    _check_workers(settings, own, web=web)
    _check_upstream(settings)
    client.check_address(settings)
    open_store(settings).close()
    place = client.address(settings) + "/v1" if settings.port else "a free port, named below"
    where = f"{place} -> {settings.upstream_base_url}, entries in {settings.store_place}"
    click.echo(f"computer-use-cache: {where}", err=log_json)
    os.environ[CALL_LINES] = call_lines.style(sys.stdout, is_wanted=not quiet, as_json=log_json)
    return launcher.start(settings, texts, own, web=web)


def _check_workers(settings: Settings, own: list[str], *, web: bool) -> None:
    if settings.workers == 1:
        return
    if web:
        raise SettingError("WORKERS: --web shows the flows of one process; leave --workers out")
    writers = ("-w", "--save-stream-file", "save_stream_file=", "hardump=")
    if used := next((text for text in own if text.startswith(writers)), None):
        raise SettingError(f"WORKERS: several processes cannot write one file ({used}); leave --workers out")


def _check_upstream(settings: Settings) -> None:
    url = str(settings.upstream_base_url)
    if is_own_address(url, {"HOST": settings.host, "PORT": str(settings.port)}):
        raise SettingError(f"UPSTREAM_BASE_URL: {url} is the address of this cache itself; name the model API")
