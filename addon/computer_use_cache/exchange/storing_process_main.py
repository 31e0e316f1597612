"""The process that stores answers for a busy proxy: `python -m computer_use_cache.exchange.storing_process_main`.

Standard input is the socket to the proxy. It ends when the proxy closes it, however that happens.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import Iterator
from io import BufferedRWPair

import msgspec
from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import CacheError
from computer_use_cache.exchange.decisions import Updated
from computer_use_cache.exchange.storing import keep
from computer_use_cache.exchange.storing_process import LENGTH, Job, Reply, Setup
from computer_use_cache.models import Bypass, Entry, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store

logger = logging.getLogger(__name__)


def serve(channel: BufferedRWPair) -> None:
    """Store what the proxy sends, one answer after another, until it closes the channel."""
    frames, encode = _frames(channel), msgspec.msgpack.Encoder().encode
    setup = msgspec.msgpack.decode(next(frames), type=Setup)
    settings = Settings.load(os.environ, setup.options)
    cache = Cache(settings, open_store(settings), loopback=setup.loopback)
    decoder = msgspec.msgpack.Decoder(Job)
    _send(channel, b"")  # ready
    gc.freeze()
    for frame in frames:
        _send(channel, encode(_reply(cache, decoder.decode(frame))))
    cache.store.close()


def _frames(channel: BufferedRWPair) -> Iterator[bytes]:
    """Ends with the proxy too, which may have been killed within a frame."""
    while len(head := channel.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        if len(frame := channel.read(length)) < length:
            return
        yield frame


def _send(channel: BufferedRWPair, frame: bytes) -> None:
    channel.write(LENGTH.pack(len(frame)) + frame)
    channel.flush()


def _reply(cache: Cache, job: Job) -> Reply | None:
    """What became of the answer; None if the proxy must store it itself, which then logs why it fails."""
    try:
        plan = cache.plan(job.request)
        if plan.key != job.key or isinstance(plan.verdict, Bypass):
            return None
        # The proxy has searched it for credentials, and found none.
        plan = replace(plan, is_prepared=True)
        recorded = keep(cache, plan, job.response, now=job.now, summarizes=job.summarizes)
    except CacheError:
        return None
    except Exception:
        logger.exception("the cache failed; the answer is stored by the proxy itself")
        return None
    if recorded.error:
        return None
    entry = recorded.landing if isinstance(recorded.landing, Entry) else None
    skipped = recorded.kept if isinstance(recorded.kept, Skipped) else None
    return Reply(entry, isinstance(recorded.kept, Updated), skipped, recorded.cost, recorded.did)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    with socket.socket(fileno=0) as proxy, proxy.makefile("rwb") as stream:
        serve(stream)
