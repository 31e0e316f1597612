"""Where the proxy listens and which upstream it stands for, from mitmproxy's modes and the settings together."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mitmproxy.connection import Client
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import LocalMode, ProxyMode, RegularMode, ReverseMode, Socks5Mode, UpstreamMode

from computer_use_cache import network
from computer_use_cache.errors import SettingError
from computer_use_cache.keys import providers
from computer_use_cache.network import Proxies
from computer_use_cache.setting_values import BaseUrl, is_loopback
from computer_use_cache.settings import Settings

if TYPE_CHECKING:
    from mitmproxy.addons.proxyserver import Proxyserver

_GRACE_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
_FORWARD = (RegularMode, UpstreamMode, Socks5Mode)
"""Proxies that connect their clients to whatever host these name."""
_ASKED = (ReverseMode, *_FORWARD)
"""Modes that serve everybody who reaches their address; the others get redirected connections."""


def settle(options: Options, texts: Mapping[str, str]) -> tuple[Settings, bool]:
    """The settings, and whether every mode listens on a loopback address only, or none at all (mitmdump's `-n`).

    Raises SettingError for a bad setting, for a reverse mode whose upstream is not the one that is set, and for an
    address that others can reach when no client token (for a forward proxy: no `proxyauth`) is set.
    """
    modes = [ProxyMode.parse(text) for text in options.mode]
    ports = {str(port) for mode in modes if (port := mode.listen_port(options.listen_port)) is not None}
    environment = {**os.environ, "PORT": ports.pop()} if len(ports) == 1 else dict(os.environ)
    settings = Settings.load(environment, texts)
    for mode in modes:
        if isinstance(mode, ReverseMode) and mode.scheme in ("http", "https"):
            target = BaseUrl.parse(f"{mode.scheme}://{_bracketed(mode.address[0])}:{mode.address[1]}")
            upstream = _upstream(target, settings, environment)
            settings = Settings.load(environment, {**texts, "cache_upstream_base_url": str(upstream)})
    default = options.listen_host or (LOOPBACK if _any_asked(modes) else "")
    settings.check_exposure(mode.listen_host(default) for mode in modes if isinstance(mode, ReverseMode))
    if not options.proxyauth:
        _check_forwarding(mode.listen_host(default) for mode in modes if isinstance(mode, _FORWARD))
    is_loopback_only = all(isinstance(mode, LocalMode) or is_loopback(mode.listen_host(default)) for mode in modes)
    return settings, not options.server or is_loopback_only


def proxies(options: Options) -> Proxies:
    """The forward proxies that the environment names, without this one: a shell that sets HTTPS_PROXY for its agents
    may start the cache as well. Raises SettingError."""
    modes = [ProxyMode.parse(text) for text in options.mode]
    own = {port for mode in modes if (port := mode.listen_port(options.listen_port)) is not None}
    return Proxies.from_environment(os.environ, own_ports=own)


def _check_forwarding(hosts: Iterable[str]) -> None:
    for host in hosts:
        if not is_loopback(host):
            raise SettingError(
                f"listen_host: {host or 'every address'} can be reached from other machines, which could have this "
                "proxy connect them to anything; listen on 127.0.0.1, or give mitmproxy's proxyauth=name:password"
            )


def wanted_options(options: Options, settings: Settings) -> dict[str, object]:
    """The options of mitmproxy that must change for the cache, with the values that it needs."""
    wanted: dict[str, object] = {}
    modes = [ProxyMode.parse(text) for text in options.mode]
    if any(isinstance(mode, ReverseMode) for mode in modes):
        # Without the client's own Host header the guard cannot tell by which name the proxy was called.
        wanted["keep_host_header"] = True
    if _any_asked(modes) and not options.listen_host:
        wanted["listen_host"] = LOOPBACK
    if not settings.keep_connection_strategy:
        wanted["connection_strategy"] = "lazy"
    if options.tcp_timeout < settings.upstream_timeout_seconds + _GRACE_SECONDS:
        # mitmproxy would cut the connection without an answer before the cache's own time-out, which has one.
        wanted["tcp_timeout"] = math.ceil(settings.upstream_timeout_seconds + _GRACE_SECONDS)
    if not options.ssl_verify_upstream_trusted_ca:
        # mitmproxy alone trusts certifi's list only, which lacks the authority of a company that inspects TLS.
        file = network.write_authorities(os.environ, Path(options.confdir).expanduser())
        wanted["ssl_verify_upstream_trusted_ca"] = str(file)
    return {name: value for name, value in wanted.items() if getattr(options, name) != value}


async def rebind(server: Proxyserver, host: str) -> None:
    """Have every mode that accepts clients and names no address listen on `host` only, if that is loopback.

    mitmproxy loads an addon given with `-s` after it has begun to listen on every address, its default.
    """
    for instance in server.servers:
        exposed = is_loopback(host) and not all(is_loopback(address[0]) for address in instance.listen_addrs)
        if isinstance(instance.mode, _ASKED) and instance.mode.custom_listen_host is None and exposed:
            await instance.stop()
            await instance.start()


def is_allowed(client: Client, *, loopback: bool) -> bool:
    """Whether a client may use a forward proxy; with `loopback`, only this machine may, before `rebind` too."""
    return not (loopback and isinstance(client.proxy_mode, _FORWARD)) or is_loopback(client.peername[0])


def _any_asked(modes: list[ProxyMode]) -> bool:
    return any(isinstance(mode, _ASKED) for mode in modes)


def _upstream(target: BaseUrl, settings: Settings, environment: Mapping[str, str]) -> BaseUrl:
    """The base URL behind `--mode reverse:target`: the one that is set if its origin is the target's."""
    configured = settings.upstream_base_url
    if configured.origin == target.origin:
        return configured
    declared = Settings.declaration("upstream_base_url")
    by_default = str(configured) in (declared.default, environment.get("OPENAI_BASE_URL", "").rstrip("/"))
    if by_default and not environment.get("UPSTREAM_BASE_URL"):
        return BaseUrl(target.origin, providers.base_path(target.origin) or "/v1")
    raise SettingError(
        f"UPSTREAM_BASE_URL: {configured} is not on {target}, the mode's upstream; give only one of them"
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
