"""mitmdump without idle addons.

An addon is dropped only if the options that give it work have their defaults. If another script is loaded, all addons
stay, because it may rely on any of them.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from mitmproxy import addonmanager
from mitmproxy.http import MessageData
from mitmproxy.options import Options
from mitmproxy.proxy import mode_servers
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from mitmproxy.tools import cmdline, main
from mitmproxy.tools.dump import DumpMaster

from computer_use_cache.launch.acceptor import Acceptor
from computer_use_cache.launch.lean_addons import LeanAddons
from computer_use_cache.launch.piece_reader import PieceReader
from computer_use_cache.proxy.addon import ComputerUseCache
from computer_use_cache.proxy.connection_handler import CacheConnectionHandler
from computer_use_cache.proxy.fast_path.protocol import FastPathProtocol

_CACHE = ComputerUseCache.__name__.lower()
"""mitmproxy's name for our addon."""
_WORK = {
    "anticache": ("anticache",),
    "anticomp": ("anticomp",),
    "blocklist": ("block_list",),
    "browser": (),
    "clientplayback": ("client_replay",),
    "commandhistory": (),
    "comment": (),
    "cut": (),
    "export": (),
    "keepserving": ("client_replay", "server_replay", "rfile"),
    "maplocal": ("map_local",),
    "mapremote": ("map_remote",),
    "modifybody": ("modify_body",),
    "modifyheaders": ("modify_headers",),
    "proxyauth": ("proxyauth",),
    "readfilestdin": ("rfile",),
    "save": ("save_stream_file",),
    "savehar": ("hardump",),
    "serverplayback": ("server_replay",),
    "stickyauth": ("stickyauth",),
    "stickycookie": ("stickycookie",),
    "upstreamauth": ("upstream_auth",),
}
"""Addons and the options that give them work. Those without options only offer commands, which mitmdump cannot run."""
_BACKLOG = 4096
"""Connections that may wait to be accepted. If hundreds of agents start at once, asyncio's 100 are too few: the others
are dropped, and try again seconds later."""
_NEW_OBJECTS = 20_000
"""The garbage collector runs after this many new objects. A streamed miss has 400 until it ends, so that Python's 700
have the collector visit hundreds of running answers again and again, for up to 60 ms at a time. There is little to
collect, because connections that have ended are taken apart (proxy/http/layer.py)."""
_NOT_IN_REVERSE_MODE = ("dnsresolver", "onboarding", "stripdnshttpsrecords")
"""Addons for clients that were set up to use a proxy, and for DNS."""


class LeanMaster(DumpMaster):
    """The Master of mitmdump, which drops idle addons before it listens."""

    shares_port = False
    """Whether other processes listen on its port too."""

    def __init__(self, opts: Options) -> None:
        addonmanager.AddonManager = LeanAddons  # type: ignore[misc]  # the kind that Master makes
        mode_servers.ProxyConnectionHandler = CacheConnectionHandler  # type: ignore[misc]
        super().__init__(opts)
        self.inherited: dict[int, socket.socket] = {}
        """Sockets that listen already, by port."""
        self._unserved: list[asyncio.Server] = []

    async def serve_inherited(self) -> None:
        """Accept connections on the inherited sockets, now that the cache is loaded."""
        for server in self._unserved:
            await server.start_serving()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._create_server = loop.create_server
        loop.create_server = self._create_own_server  # type: ignore  # asyncio.start_server calls it
        if self._is_alone():
            assert isinstance(self.addons, LeanAddons)
            self.addons.silence(self._idle())
        # mitmproxy would do this after it begins to listen, and a request before that would fail.
        self.addons.get("tlsconfig").configure({"confdir"})
        _skip_type_checks()
        # Objects made so far live until the end, so the garbage collector need not visit them again.
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
        await super().run()

    def _is_alone(self) -> bool:
        return len(self.options.scripts) <= 1

    def _is_reverse(self) -> bool:
        return all(isinstance(ProxyMode.parse(mode), ReverseMode) for mode in self.options.mode)

    def _idle(self) -> list[str]:
        idle = [name for name, options in _WORK.items() if not any(map(self.options.has_changed, options))]
        if self.options.flow_detail == 0:
            idle.append("dumper")
        if self._is_reverse():
            idle += _NOT_IN_REVERSE_MODE
        return idle

    async def _create_own_server(
        self, factory: Callable[[], asyncio.StreamReaderProtocol], *place: Any, **given: Any
    ) -> Any:
        """mitmproxy's server with the fast path in front of it."""
        given["backlog"] = _BACKLOG
        if self.shares_port:
            given["reuse_port"] = True
        inherited = self.inherited.pop(place[1], None)
        if inherited:
            place, given = (), given | {"sock": inherited, "start_serving": False}

        def mitmproxy() -> asyncio.Protocol:
            callback = factory()._client_connected_cb  # type: ignore[attr-defined]
            return asyncio.StreamReaderProtocol(PieceReader(), callback)

        has_fast_path = self._is_alone() and self._is_reverse()
        acceptor = Acceptor((lambda: self._protocol(mitmproxy)) if has_fast_path else mitmproxy)
        acceptor.server = server = await self._create_server(acceptor.accept, *place, **given)
        if inherited:
            self._unserved.append(server)
        return server

    def _protocol(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """For one connection: the script that brings the cache is loaded after the server was created."""
        cache = self.addons.get(_CACHE)
        if not isinstance(cache, ComputerUseCache):
            return factory()
        return FastPathProtocol(cache.fast_path, cache.connections, cache.searches, factory, self.options.tcp_timeout)


def _skip_type_checks() -> None:
    """Leave out mitmproxy's checks of its own types, as Python's -O does. They take 45 us a message, and the exceptions
    that they catch refer to every frame below, which keeps a connection's last request in memory."""
    MessageData.__post_init__ = lambda _: None  # type: ignore[method-assign]


class SharingMaster(LeanMaster):
    """One of several processes on a port."""

    shares_port = True


def mitmdump(line: Sequence[str], *, shares_port: bool) -> None:
    """Run mitmdump with this command line until it ends; raises SystemExit as mitmdump does."""
    main.run(SharingMaster if shares_port else LeanMaster, cmdline.mitmdump, line, _filters)


def _filters(arguments: Namespace) -> dict[str, str]:
    """The options that mitmdump sets for a filter at the end of its command line."""
    names = ("save_stream_filter", "readfile_filter", "dumper_filter") if arguments.filter_args else ()
    return dict.fromkeys(names, " ".join(arguments.filter_args))
