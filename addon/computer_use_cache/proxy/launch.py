"""Starts mitmproxy with the addon, in this process or in several workers.

mitmproxy is imported only to run it: that takes half a second, which `version` and `stats` must not wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import computer_use_cache
from computer_use_cache.proxy import workers
from computer_use_cache.settings import Settings


def entry_path() -> Path:
    """The file for mitmproxy's `-s`. It lies beside the package, in a checkout and when installed."""
    return Path(computer_use_cache.__file__).parent.with_name("computer_use_cache_addon.py")


def arguments(settings: Settings, options: Mapping[str, str], own: Sequence[str], *, web: bool) -> list[str]:
    """The command line of mitmdump, or of mitmweb for `web`.

    `options` are texts by option name, for the settings that were not left to the environment. `own` are the user's
    arguments for mitmproxy; they come last and win.
    """
    upstream = settings.upstream_base_url
    # mitmproxy splits the port off at the last colon: an IPv6 address in brackets is no address to it.
    line = ["-s", str(entry_path()), "--mode", f"reverse:{upstream.origin}@{settings.host}:{settings.port}"]
    if not web and not any(text.startswith("flow_detail=") for text in own):
        line += ["--set", "flow_detail=0"]
    for name, text in (dict(options) | {"cache_upstream_base_url": str(upstream)}).items():
        line += ["--set", f"{name}={text}"]
    return [*line, *own]


def start(settings: Settings, options: Mapping[str, str], own: Sequence[str], *, web: bool) -> int:
    """Run mitmdump (in `settings.workers` processes) or mitmweb until it ends; its exit status.

    The arguments are those of `arguments`. Raises CacheError when the port cannot be shared.
    """
    if web:
        from mitmproxy.tools import main  # noqa: PLC0415

        return _run(main.mitmweb, arguments(settings, options, own, web=True))
    if settings.workers == 1:
        return mitmdump(arguments(settings, options, own, web=False), shares_port=False)
    with workers.reserve(settings.host, settings.port) as kept:
        host, port = kept.getsockname()[:2]
        line = arguments(dataclasses.replace(settings, port=port), options, own, web=False)
        return workers.Supervisor(line, settings.workers).run((host, port))


def mitmdump(line: Sequence[str], *, shares_port: bool) -> int:
    """Run a lean mitmdump with this command line until it ends; its exit status."""
    from computer_use_cache.proxy import lean  # noqa: PLC0415

    with contextlib.suppress(ModuleNotFoundError):
        import uvloop  # noqa: PLC0415  # an extra

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return _run(functools.partial(lean.mitmdump, shares_port=shares_port), line)


def _run(tool: Callable[[Sequence[str]], object], line: Sequence[str]) -> int:
    if not {"-v", "--verbose"}.intersection(line):
        # It tells of every connection, which is too much for a cache that runs all day.
        logging.getLogger("mitmproxy.proxy.server").setLevel(logging.WARNING)
    try:
        tool(line)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
