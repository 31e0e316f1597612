"""Starts mitmproxy with the addon: in this process, or in several workers.

mitmproxy is imported only to run it: that takes half a second, which `version` and `stats` must not wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import functools
import inspect
import io
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import computer_use_cache
from computer_use_cache.launch import workers
from computer_use_cache.run_models import CALL_LINES, LineStyle
from computer_use_cache.settings import Settings

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 64 * 1024 * 1024


def entry_path() -> Path:
    """The file for mitmproxy's `-s`. It is beside the package, both in a checkout and when installed."""
    return Path(computer_use_cache.__file__).parent.with_name("computer_use_cache_addon.py")


def arguments(settings: Settings, options: Mapping[str, str], own: Sequence[str], *, web: bool) -> list[str]:
    """The command line of mitmdump, or of mitmweb for `web`.

    `options` are texts by option name, for the settings that were not left to the environment. `own` are the user's
    arguments for mitmproxy; they come last and win.
    """
    upstream = settings.upstream_base_url
    line = ["-s", str(entry_path())]
    for host in _hosts(settings):
        # mitmproxy splits the port off at the last colon and takes no brackets around an IPv6 address.
        line += ["--mode", f"reverse:{upstream.origin}@{host}:{settings.port}"]
    if not web and not any(text.startswith("flow_detail=") for text in own):
        line += ["--set", "flow_detail=0"]
    return [*line, *set_options(dict(options) | {"cache_upstream_base_url": str(upstream)}), *own]


def _hosts(settings: Settings) -> list[str]:
    """The addresses to listen on. 127.0.0.1 includes [::1], which clients may try first for `localhost`, unless the
    port is to be a free one (0), which could differ between the two."""
    if settings.host != "127.0.0.1" or settings.port == 0:
        return [settings.host]
    try:
        with socket.create_server(("::1", settings.port), family=socket.AF_INET6):
            return [settings.host, "::1"]
    except OSError:
        return [settings.host]


def set_options(options: Mapping[str, str]) -> list[str]:
    """The arguments that set mitmproxy's options to these texts."""
    return [part for name, text in options.items() for part in ("--set", f"{name}={text}")]


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
    from computer_use_cache.launch import master  # noqa: PLC0415

    _use_uvloop()
    return _run(functools.partial(master.mitmdump, shares_port=shares_port), line)


def _use_uvloop() -> None:
    """Use uvloop if it is installed and works here.

    mitmproxy sets asyncio's eager task factory. From Python 3.13 on, uvloop passes it an argument that the factory of
    the first patch releases does not accept.
    """
    accepted = inspect.signature(asyncio.eager_task_factory).parameters
    if sys.version_info < (3, 13) or "eager_start" in accepted:
        with contextlib.suppress(ModuleNotFoundError):
            import uvloop  # noqa: PLC0415  # an extra

            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def _run(tool: Callable[[Sequence[str]], object], line: Sequence[str]) -> int:
    if os.environ.get(CALL_LINES) == LineStyle.JSON:
        sys.stdout = sys.stderr  # standard output is for the lines alone
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # in a pipe, lines would be buffered for minutes
    if not {"-v", "--verbose"}.intersection(line):
        # This logger logs every connection, which is too much for a cache that runs all day.
        logging.getLogger("mitmproxy.proxy.server").setLevel(logging.WARNING)
    keep_freed_memory()
    try:
        tool(line)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next screenshot: mapping it anew, page by page, takes up to a tenth of the
    time of such a hit (mallopt(3)). All threads share what is kept; each would keep some of its own otherwise. Does
    nothing with another C library."""
    if os.name == "posix" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, 1)
