"""Hands answers to a process of their own to be stored, while the proxy is busy with many calls.

Storing an answer takes half as much of the interpreter as passing it on, and two threads cannot use it at once. The
process is started when the proxy is busy for the first time. It plans the request again and stores the answer with the
same code, in the same store. What it cannot plan to the same key, or cannot store, is stored here. If it ends, all is.

Both directions carry frames: a length of four bytes, and MessagePack.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from computer_use_cache.exchange.decisions import Stored, Updated
from computer_use_cache.exchange.storing import Arrived, Recorded, landing_alone
from computer_use_cache.models import Cost, Entry, Request, Response, Skipped

logger = logging.getLogger(__name__)

LENGTH = struct.Struct(">I")
_MODULE = "computer_use_cache.exchange.storing_process_main"
_MOST_BYTES = 256 * 1024
"""Longer requests and answers are stored here: most of what they take is done outside the interpreter, and copying
them would hold up the event loop."""
_MOST_SECONDS = 30.0
"""How long the process may take for an answer, with all that came before."""
_END_SECONDS = 5.0


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
    did: str


class StoringProcess:
    """The process that stores answers for one proxy. `options` and `loopback` are what its settings were loaded from.
    To be used on one event loop."""

    def __init__(self, options: Mapping[str, str], *, loopback: bool) -> None:
        self._setup = Setup(options, loopback)
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_ready = False
        self._is_closed = False
        self._unanswered = deque[asyncio.Future[Reply | None]]()
        """In the order in which the process replies."""
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Reply | None)

    async def keep(self, arrived: Arrived) -> Recorded | None:
        """Store an answer in the process. None if it must be stored here."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        plan, response = arrived.plan, arrived.response
        if not self._is_ready or not _can_be_sent(arrived):
            return None
        request = replace(plan.route.request, body=plan.forward)
        answered: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        try:
            self._send(Job(plan.key, request, response, arrived.now, arrived.is_summarized))
        except UnicodeEncodeError:  # a header with bytes that are not UTF-8
            return None
        self._unanswered.append(answered)
        done, _ = await asyncio.wait([answered], timeout=_MOST_SECONDS)
        if not done and self._process:
            self._process.kill()  # it hangs: whatever waits for it is stored here
        reply = await answered
        return _recorded(reply, response) if reply else None

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
                _answer(self._unanswered.popleft(), reply)
        except (OSError, asyncio.IncompleteReadError):
            if not self._is_closed:
                logger.warning("the process that stores answers has ended; from now on the proxy stores them itself")
        finally:
            self._is_ready = False
            while self._unanswered:
                _answer(self._unanswered.popleft(), None)
            if self._writer:
                self._writer.close()
        if self._process:
            await asyncio.to_thread(self._process.wait)

    async def _start(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
        with theirs:
            # A session of its own: the terminal's signals are for the proxy, which ends it.
            self._process = subprocess.Popen(  # noqa: S603  # ours
                [sys.executable, "-P", "-m", _MODULE],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": path},
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._send(self._setup)
        if self._is_closed:
            self._writer.write_eof()
        return reader

    def close(self) -> None:
        """End the process once it has stored what it was given. If nothing is left to store, waits for its end."""
        self._is_closed, self._is_ready = True, False
        if self._writer is None or self._process is None or self._writer.is_closing():
            return
        self._writer.write_eof()
        if not self._unanswered:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)


def _answer(answered: asyncio.Future[Reply | None], reply: Reply | None) -> None:
    if not answered.done():  # its client may have left
        answered.set_result(reply)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return await reader.readexactly(length)


def _can_be_sent(arrived: Arrived) -> bool:
    """Whether the process can plan the request from what is forwarded, and store the answer: a request with secrets
    would be searched for them again, and samples in order are counted here."""
    plan = arrived.plan
    is_long = len(plan.forward) + len(arrived.response.body) > _MOST_BYTES
    return plan.is_prepared and not plan.secrets and plan.nth is None and not arrived.parts and not is_long


def _recorded(reply: Reply, response: Response) -> Recorded:
    if reply.entry is None:
        assert reply.skipped
        return Recorded(reply.skipped, landing_alone(response), reply.cost)
    kept = reply.skipped or (Updated(reply.entry) if reply.replaced else Stored(reply.entry))
    return Recorded(kept, reply.entry, reply.cost, reply.did)
