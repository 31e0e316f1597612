"""Reads a large export in several processes: checking an entry takes longer than storing it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import cast

from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import FormatError
from computer_use_cache.setting_values import cores
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.transfer import jsonl
from computer_use_cache.transfer.jsonl import Line
from computer_use_cache.transfer.recordings import Read, importing_cache

_LARGE = 32 * 1024 * 1024
"""Bytes. A smaller file is read before the processes have started, which takes a second."""
_BATCH_BYTES = 512 * 1024
_NICENESS = 5
"""The reading processes give way to the importing one: others wait for the store while it writes."""
_BATCHES_AHEAD = 8
"""For each process, so that none is idle while the importing process writes."""


def read(path: Path, into: Cache, environ: Mapping[str, str]) -> Iterator[Read]:
    """The same as `jsonl.read`, in the same order. `environ` holds the settings of `into`. Raises FormatError."""
    number = cores()
    if number == 1 or path.stat().st_size < _LARGE:
        yield from jsonl.read(path, into)
        return
    with _uninterrupted():
        pool = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _begin, (dict(environ),))
    waiting = deque[Future[list[Read]]]()
    try:
        for batch in _batches(jsonl.split(path, into.settings)):
            with _uninterrupted():
                waiting.append(pool.submit(_read, batch))
            if len(waiting) > number * _BATCHES_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise FormatError(f"{path} cannot be read to its end: a process that reads it was ended") from None
    finally:
        with _uninterrupted():
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl+C takes effect after the block, and does not reach the processes that start in it.

    The pool would not know a process whose start was interrupted, and nobody would end that one. One that has only just
    started needs what the pool takes away when it ends.
    """
    if threading.current_thread() is not threading.main_thread():  # Ctrl+C does not interrupt any other
        yield
        return
    came = list[int]()
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    batch, size = list[Line](), 0
    for line in lines:
        batch.append(line)
        size += len(line.data)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


# -- in each process

_cache: Cache


def _begin(environ: Mapping[str, str]) -> None:
    global _cache  # noqa: PLW0603  # the pool has no other place for what its calls share
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the importing process handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(_NICENESS)
    no_store = cast("Store", None)  # checking a line reads no store
    _cache = importing_cache(Settings.load(environ), no_store, loopback=True)


def _end_with_parent() -> None:
    """If the importing process is killed, nobody tells the pool's processes that there is no more work."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _read(batch: list[Line]) -> list[Read]:
    return [found for line in batch for found in jsonl.read_line(line, _cache)]
