"""Starts mitmproxy with the addon, in this process.

mitmproxy is imported only to run it: that takes half a second, which `version` and `stats` must not wait for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import computer_use_cache
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


def start(line: Sequence[str], *, web: bool) -> int:
    """Run mitmdump, or mitmweb, with this command line until it ends; its exit status."""
    from mitmproxy.tools import main  # noqa: PLC0415

    if not {"-v", "--verbose"}.intersection(line):
        # It tells of every connection, which is too much for a cache that runs all day.
        logging.getLogger("mitmproxy.proxy.server").setLevel(logging.WARNING)
    try:
        (main.mitmweb if web else main.mitmdump)(line)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
