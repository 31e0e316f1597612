"""Hands answers to a process of their own to be stored, while the proxy is busy with many calls.

Storing an answer takes half as much of the interpreter as passing it on, and two threads cannot use the interpreter at
once. The process is started when the proxy is busy for the first time. It plans the request again and stores the answer
with the same code, in the same store. What it cannot plan to the same key, or cannot store, the proxy stores itself; so
it does with everything once the process has ended.

Both directions carry frames: a length of four bytes, and MessagePack. What the process logs, the proxy logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from computer_use_cache.exchange.decisions import Stored, Updated
from computer_use_cache.exchange.storing import Arrived, Recorded, landing_alone
from computer_use_cache.models import Cost, Entry, Request, Response, Skipped

logger = logging.getLogger(__name__)

LENGTH = struct.Struct(">I")
BUFFER_BYTES = 256 * 1024
"""What a direction of the socket may hold, if the system lets it: answers that are read together are stored together.
macOS holds 8 KiB by default."""
_MOST_BYTES = 256 * 1024
"""A longer request and its answer are stored here: most of the work on them is done outside the interpreter, and
copying them would hold up the event loop."""
_MOST_SECONDS = 30.0
"""How long the process may be silent while answers wait in it."""
_END_SECONDS = 5.0
_PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from computer_use_cache.exchange.storing_process_main import main
main()
"""
"""With `mitmdump -s`, this package is not installed: its folder comes last, so that it hides no other module."""


class Setup(msgspec.Struct):
    """The first frame: the option texts that the settings were loaded from, beside the environment."""

    options: Mapping[str, str]
    loopback: bool


class Job(msgspec.Struct):
    """An answer to store: `Arrived` as plain data. `key` is that of the request."""

    key: str
    request: Request
    response: Response
    now: float
    is_summarized: bool


class Reply(msgspec.Struct):
    """What became of an answer: a `Recorded` as plain data. `entry` is None if the answer must not be stored."""

    entry: Entry | None
    replaced: bool
    skipped: Skipped | None
    cost: Cost
    did: str | None


class StoringProcess:
    """The process that stores answers for one proxy. `options` and `loopback` are what its settings were loaded from.
    To be used on one event loop."""

    def __init__(self, options: Mapping[str, str], *, loopback: bool) -> None:
        self._setup = Setup(options, loopback)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        """The same as the writer's, which closes its own later."""
        self._writer: asyncio.StreamWriter | None = None
        self._log: threading.Thread | None = None
        """Logs what the process logs."""
        self._running: asyncio.Task[None] | None = None
        self._is_ready = False
        self._is_closed = False
        self._unanswered = deque[asyncio.Future[Reply | None]]()
        """In the order in which the process replies."""
        self._heard_at = 0.0
        """When the process last replied, on the event loop's clock."""
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Reply | None)

    async def keep(self, arrived: Arrived) -> Recorded | None:
        """Store an answer in the process. None if it must be stored here."""
        if not _can_be_sent(arrived):
            return None
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        if not self._is_ready:
            return None
        plan, loop = arrived.plan, asyncio.get_running_loop()
        request = replace(plan.route.request, body=plan.forward)
        answered: asyncio.Future[Reply | None] = loop.create_future()
        try:
            self._send(Job(plan.key, request, arrived.response, arrived.now, arrived.is_summarized))
        except UnicodeEncodeError:  # a header with bytes that are not UTF-8
            return None
        self._unanswered.append(answered)
        while not answered.done():
            await asyncio.wait([answered], timeout=_MOST_SECONDS)
            if not answered.done() and self._process and loop.time() - self._heard_at >= _MOST_SECONDS:
                self._process.kill()
                self._give_up("hangs")
        reply = answered.result()
        return _recorded(reply, arrived.response) if reply else None

    async def caught_up(self) -> None:
        """Wait until what the process has been given is stored, or left to the proxy."""
        if self._unanswered:
            await asyncio.wait([self._unanswered[-1]])

    def _send(self, message: Setup | Job) -> None:
        assert self._writer
        frame = self._encoder.encode(message)
        self._writer.writelines((LENGTH.pack(len(frame)), frame))

    async def _run(self) -> None:
        """Start the process, and take its replies until it ends."""
        try:
            reader = await self._start()
            await _read_frame(reader)
            self._is_ready = not self._is_closed
            while True:
                reply = self._decoder.decode(await _read_frame(reader))
                self._heard_at = asyncio.get_running_loop().time()
                _answer(self._unanswered.popleft(), reply)
        except (OSError, asyncio.IncompleteReadError):
            self._give_up("has ended")
        except Exception as error:
            self._give_up(f"cannot be used: {error}")
        finally:
            self._is_closed = True
            if self._writer:
                self._writer.close()
            if self._socket:
                self._socket.close()
        if self._process and self._log:
            await asyncio.to_thread(_end, self._process)
            await asyncio.to_thread(self._log.join)

    async def _start(self) -> asyncio.StreamReader:
        """Start the process; what it replies."""
        ours, theirs = socket.socketpair()
        with theirs:
            for each in (ours, theirs):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            self._socket = ours.dup()
            # A session of its own: the terminal's signals are for the proxy, which ends it.
            self._process = subprocess.Popen(  # noqa: S603  # ours
                [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[2])],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self._log = threading.Thread(target=_pass_on, args=(self._process.stderr,), name="storing-log", daemon=True)
        self._log.start()
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._send(self._setup)
        return reader

    def _give_up(self, why: str) -> None:
        """Let the proxy store whatever waits in the process, and whatever comes."""
        if not self._is_closed:
            logger.warning("the process that stores answers %s; the proxy now stores them itself", why)
        self._is_ready, self._is_closed = False, True
        while self._unanswered:
            _answer(self._unanswered.popleft(), None)

    def close(self) -> None:
        """End the process once it has stored what it was given. If nothing waits in it, it has ended then."""
        was_ready, self._is_ready, self._is_closed = self._is_ready, False, True
        if self._process is None or self._socket is None or self._writer is None:
            return
        if self._unanswered:
            self._writer.write_eof()
            return
        if was_ready:
            # Not by the writer: uvloop ends the connection only once the event loop goes on.
            with contextlib.suppress(OSError):  # on macOS, if the process has just died
                self._socket.shutdown(socket.SHUT_WR)
            _end(self._process)
        else:
            self._process.kill()


def _answer(answered: asyncio.Future[Reply | None], reply: Reply | None) -> None:
    if not answered.done():
        answered.set_result(reply)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended whose socket is closed, but not for ever."""
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _pass_on(log: IO[bytes]) -> None:
    with log:
        for line in log:
            logger.warning("%s", line.decode("utf-8", "replace").rstrip())


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return await reader.readexactly(length)


def _can_be_sent(arrived: Arrived) -> bool:
    """Whether the process can plan the request from what is forwarded, and may take its time for it. The proxy has
    searched the request for secrets; if there are any, the process would have to do it again. Samples in order are
    counted here."""
    plan = arrived.plan
    is_long = len(plan.forward) + len(arrived.response.body) > _MOST_BYTES
    return plan.is_prepared and not plan.secrets and plan.nth is None and not arrived.parts and not is_long


def _recorded(reply: Reply, response: Response) -> Recorded:
    if reply.entry is None:
        assert reply.skipped
        return Recorded(reply.skipped, landing_alone(response), reply.cost)
    kept = reply.skipped or (Updated(reply.entry) if reply.replaced else Stored(reply.entry))
    return Recorded(kept, reply.entry, reply.cost, reply.did)
