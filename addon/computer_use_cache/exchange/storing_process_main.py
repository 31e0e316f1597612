"""The process that stores answers for a busy proxy, which starts it (storing_process.py).

Standard input is the socket to the proxy. The process ends when the proxy closes it, however that happens. It ignores
SIGTERM: a service manager sends that to both, while the proxy still has answers to store.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence

import msgspec

from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import CacheError
from computer_use_cache.exchange.decisions import Updated
from computer_use_cache.exchange.storing import Arrived, Recorded, keep
from computer_use_cache.exchange.storing_process import BUFFER_BYTES, LENGTH, Job, Reply, Setup
from computer_use_cache.models import Bypass, Entry, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store

logger = logging.getLogger(__name__)


def serve(proxy: socket.socket) -> None:
    """Store what the proxy sends until it closes the socket. Replies are in the order of the answers."""
    decode = msgspec.msgpack.Decoder(Job).decode
    batches = _batches(proxy)
    (frame,) = next(batches)
    setup = msgspec.msgpack.decode(frame, type=Setup)
    settings = Settings.load(os.environ, setup.options)
    cache = Cache(settings, open_store(settings), loopback=setup.loopback)
    _send(proxy, [b""])  # ready
    gc.freeze()
    for batch in batches:
        _send(proxy, [_encoded(reply) for reply in _replies(cache, [decode(frame) for frame in batch])])
    cache.store.close()


def _batches(proxy: socket.socket) -> Iterator[list[bytes]]:
    """The frames that have arrived, as many at a time as there are: answers that are stored together take half the
    time. An incomplete last one comes from a proxy that was killed."""
    received = bytearray()
    while data := proxy.recv(BUFFER_BYTES):
        received += data
        frames, at = list[bytes](), 0
        while len(received) >= at + LENGTH.size:
            begin = at + LENGTH.size
            end = begin + LENGTH.unpack_from(received, at)[0]
            if len(received) < end:
                break
            frames.append(bytes(received[begin:end]))
            at = end
        del received[:at]
        if frames:
            yield frames


def _send(proxy: socket.socket, frames: Sequence[bytes]) -> None:
    with contextlib.suppress(OSError):  # the proxy was killed; what it has sent is still stored
        proxy.sendall(b"".join(LENGTH.pack(len(frame)) + frame for frame in frames))


def _encoded(reply: Reply | None) -> bytes:
    try:
        return msgspec.msgpack.encode(reply)
    except UnicodeEncodeError:  # the answer holds half of a surrogate pair, which JSON can but UTF-8 cannot express
        return msgspec.msgpack.encode(None)


def _replies(cache: Cache, jobs: Sequence[Job]) -> list[Reply | None]:
    """What became of each answer; None if the proxy must store it itself, which then logs why it fails."""
    try:
        answers = [_arrived(cache, job) for job in jobs]
        recorded = iter(keep(cache, [answer for answer in answers if answer]))
        return [_reply(next(recorded)) if answer else None for answer in answers]
    except Exception:
        logger.exception("the cache failed; the proxy stores these answers itself")
        return [None] * len(jobs)


def _arrived(cache: Cache, job: Job) -> Arrived | None:
    """None if the request cannot be planned to the same key here."""
    try:
        plan = cache.plan(job.request)
    except CacheError:
        return None
    if plan.key != job.key or isinstance(plan.verdict, Bypass):
        return None
    return Arrived(plan, job.response, job.now, is_summarized=job.is_summarized)


def _reply(recorded: Recorded) -> Reply | None:
    if recorded.error:
        return None
    entry = recorded.landing if isinstance(recorded.landing, Entry) else None
    skipped = recorded.kept if isinstance(recorded.kept, Skipped) else None
    return Reply(entry, isinstance(recorded.kept, Updated), skipped, recorded.cost, recorded.did)


def main() -> None:
    """Serve the proxy at the other end of standard input."""
    logging.basicConfig(format="%(message)s")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=0) as proxy:
        serve(proxy)
