"""Where the proxy listens and which upstream it stands for, from mitmproxy's modes and the settings together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

from computer_use_cache.errors import SettingError
from computer_use_cache.settings import Settings
from computer_use_cache.values import BaseUrl, is_loopback

if TYPE_CHECKING:
    from mitmproxy.addons.proxyserver import Proxyserver

LOOPBACK = "127.0.0.1"


def settle(options: Options, texts: Mapping[str, str]) -> tuple[Settings, bool]:
    """The settings, and whether every mode listens on a loopback address only, or none at all (mitmdump's `-n`).

    Raises SettingError for a bad setting, for a reverse mode whose upstream is not the one that is set, and for an
    address that others can reach when no client token is set.
    """
    modes = [ProxyMode.parse(text) for text in options.mode]
    ports = {str(mode.listen_port(options.listen_port)) for mode in modes}
    environment = {**os.environ, "PORT": ports.pop()} if len(ports) == 1 else dict(os.environ)
    settings = Settings.load(environment, texts)
    for mode in modes:
        if isinstance(mode, ReverseMode) and mode.scheme in ("http", "https"):
            target = BaseUrl.parse(f"{mode.scheme}://{_bracketed(mode.address[0])}:{mode.address[1]}")
            settings = dataclasses.replace(settings, upstream_base_url=_upstream(target, settings, environment))
    default = options.listen_host or (LOOPBACK if _any_reverse(modes) else "")
    settings.check_exposure(mode.listen_host(default) for mode in modes if isinstance(mode, ReverseMode))
    return settings, not options.server or all(is_loopback(mode.listen_host(default)) for mode in modes)


def wanted_options(options: Options, settings: Settings) -> dict[str, object]:
    """mitmproxy's options as the cache needs them, where they are not so yet."""
    wanted: dict[str, object] = {}
    modes = [ProxyMode.parse(text) for text in options.mode]
    if _any_reverse(modes):
        # Without the client's own Host header the guard cannot tell by which name the proxy was called.
        wanted["keep_host_header"] = True
        if not options.listen_host:
            wanted["listen_host"] = LOOPBACK
    if not settings.keep_connection_strategy:
        wanted["connection_strategy"] = "lazy"
    return {name: value for name, value in wanted.items() if getattr(options, name) != value}


async def rebind(server: Proxyserver, host: str) -> None:
    """Have every reverse mode that names no address listen on `host` only, where that is loopback: mitmproxy loads
    an addon given with `-s` when it has begun to listen on its default, every address."""
    for instance in server.servers:
        exposed = is_loopback(host) and not all(is_loopback(address[0]) for address in instance.listen_addrs)
        if isinstance(instance.mode, ReverseMode) and instance.mode.custom_listen_host is None and exposed:
            await instance.stop()
            await instance.start()


def _any_reverse(modes: list[ProxyMode]) -> bool:
    return any(isinstance(mode, ReverseMode) for mode in modes)


def _upstream(target: BaseUrl, settings: Settings, environment: Mapping[str, str]) -> BaseUrl:
    """The base URL behind `--mode reverse:target`: the one that is set if its origin is the target's."""
    configured = settings.upstream_base_url
    if configured.origin == target.origin:
        return configured
    declared = next(item for item in Settings.declarations() if item.name == "upstream_base_url")
    by_default = str(configured) in (declared.default, environment.get("OPENAI_BASE_URL", "").rstrip("/"))
    if by_default and not environment.get("UPSTREAM_BASE_URL"):
        return BaseUrl(target.origin, "/v1")
    raise SettingError(f"UPSTREAM_BASE_URL: {configured} is not on {target}, the mode's upstream; give one of them")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
