"""The private proxy of `run`: never outlives the process that started it.

`python -m computer_use_cache.launch.companion_main SOCKETS` takes the numbers of listening sockets that it inherits,
with commas between them, and then mitmdump's command line. Once it accepts connections it prints a line of JSON with
mitmproxy's folder. What mitmproxy prints goes to standard error.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import TextIO

from mitmproxy import ctx, options
from mitmproxy.tools import cmdline, main

from computer_use_cache.launch import launcher, workers
from computer_use_cache.launch.master import LeanMaster


class _Report:
    """An addon that starts to serve the inherited sockets, and reports it."""

    def __init__(self, master: LeanMaster, out: TextIO) -> None:
        self._master = master
        self._out = out

    async def running(self) -> None:
        await self._master.serve_inherited()
        print(json.dumps({"confdir": ctx.options.confdir}), file=self._out, flush=True)


def serve() -> None:
    """Run until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    workers.end_with_parent()
    launcher.keep_freed_memory()
    inherited = [socket.socket(fileno=int(number)) for number in sys.argv[1].split(",") if number]

    class Companion(LeanMaster):
        def __init__(self, opts: options.Options) -> None:
            super().__init__(opts)
            self.inherited = {place.getsockname()[1]: place for place in inherited}
            self.addons.add(_Report(self, out))

    main.run(Companion, cmdline.mitmdump, sys.argv[2:])


if __name__ == "__main__":
    serve()
