"""What a growing store costs: lookups, upkeep and bulk work beside a running event loop, and size on disk."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import orjson

from benchmarks import traffic
from benchmarks.figures import Run, progress
from computer_use_cache.settings import Settings
from computer_use_cache.store import codec
from computer_use_cache.store.base import Choice
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.store.sqlite import Database
from computer_use_cache.transfer import parallel
from computer_use_cache.transfer.recordings import EXPORT_MARK, importing_cache, keep_all

_FILLED_PER_SECOND = 5000
"""Entries a second, fewer than any machine stores: those that expire together must all be stored before."""
_WRITTEN_AT_ONCE = 10_000
_ADD_ROW = """
INSERT INTO Cache (key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value)
VALUES (?, 1, ?, ?, ?, 0, NULL, 0, 1, NULL, ?)
"""
"""What diskcache executes to store a small value under a new key."""
_READ, _TIMED, _BATCH = 30_000, 900, 100
"""How many entries are read, how many of those are timed, and in batches of how many."""
_URL = "http://127.0.0.1:9/v1"


def measure(bench: Run) -> None:
    """Add the rows."""
    for part in (_lookups, _upkeep, _bulk, _size):
        with progress(part.__name__.removeprefix("_")):
            part(bench)


def _filled(folder: Path, number: int, until: float | None = None) -> DiskStore:
    """A store with `number` entries that all expire in the second before `until` (Unix seconds).

    The rows are those that the store would write, but it would look for an older entry with each key first, which takes
    minutes for a million.
    """
    store = DiskStore(folder, 2**40)
    for batch in itertools.batched(enumerate(traffic.entries(range(number)), 1), _WRITTEN_AT_ONCE):
        now, rows = time.time(), defaultdict[Database, list[tuple[object, ...]]](list)
        for item, entry in batch:
            expires_at = until and until - item / number
            rows[store._shard(entry.key)].append((entry.key, now, expires_at, now, codec.encode(entry)))
        for shard, of_shard in rows.items():
            with shard.use() as cache, cache.transact():
                cache._con.executemany(_ADD_ROW, of_shard)
    return store


def _lookups(bench: Run) -> None:
    """Times lookups of entries that the process has not read yet, after many lookups of others."""
    sizes = (1000, 5000, 20_000) if bench.quick else (1000, 100_000, 1_000_000)
    for size in sizes:
        with progress(f"filling with {size:,} entries"):
            _filled(_grown(bench, size), size).close()
    seconds: list[list[float]] = [[] for _ in sizes]
    chance = random.Random(1)
    for _ in range(2 if bench.quick else 5):
        stores = [DiskStore(_grown(bench, size), 2**40) for size in sizes]
        keys = [[traffic.key(item) for item in chance.sample(range(size), min(size, _READ))] for size in sizes]
        for store, asked in zip(stores, keys, strict=True):
            for key in itertools.islice(itertools.cycle(asked[:-_TIMED]), _READ - _TIMED):
                store.get(key)
        for first in range(-_TIMED, 0, _BATCH):
            for store, asked, column in zip(stores, keys, seconds, strict=True):
                batch = asked[first:][:_BATCH]
                begun = time.perf_counter()
                for key in batch:
                    assert store.get(key)
                column.append((time.perf_counter() - begun) / _BATCH)
        for store in stores:
            store.close()
    small, middle, large = (1e6 * median(column) for column in seconds)
    detail = f"not read before: {small:.0f} us at {sizes[0]}, {middle:.0f} at {sizes[1]}, {large:.0f} at {sizes[2]}"
    bench.add(f"get at {sizes[2]:,} entries over {sizes[0]:,}", large / small, goal="<= 1.3", detail=detail)
    for size in sizes:
        shutil.rmtree(_grown(bench, size))


def _grown(bench: Run, size: int) -> Path:
    return bench.folder / f"growth-{size}"


# -- upkeep


def _upkeep(bench: Run) -> None:
    number = 3000 if bench.quick else 100_000
    for name, work in (("expire", DiskStore.maintain), ("clear", DiskStore.clear), ("evict", _evict)):
        with progress(f"{name} of {number:,} entries"):
            _measure_upkeep(bench, name, work, number)


def _measure_upkeep(bench: Run, name: str, work: Callable[[DiskStore], object], number: int) -> None:
    folder = bench.folder / name
    until = time.time() + number / _FILLED_PER_SECOND + 1 if name == "expire" else None
    store = _filled(folder, number, until)
    time.sleep(max(until - time.time(), 0) if until else 0)
    before = store.size().entries
    worst, idle, took = asyncio.run(_worst_stall(store, work))
    left = store.size().entries
    detail = f"{took:.1f} s, {before} entries before, {left} after; {idle:.1f} ms with nothing to do"
    bench.add(f"longest stall during {name} of {number:,} entries", worst, "ms", "<= 20", detail)
    store.close()
    shutil.rmtree(folder)


def _evict(store: DiskStore) -> None:
    """Evicts everything, by a size limit of zero."""
    _shrink(store, 0)


def _shrink(store: DiskStore, size_limit: int) -> None:
    smaller = DiskStore(store.folder, size_limit)
    smaller.maintain()
    smaller.close()


async def _worst_stall(store: DiskStore, work: Callable[[DiskStore], object]) -> tuple[float, float, float]:
    """How long the event loop was blocked at worst, in milliseconds, while it answered lookups.

    Returns the worst during `work`, which runs in the writer's thread; the worst during half an idle second; and how
    many seconds `work` took.
    """
    loop, writer = asyncio.get_running_loop(), ThreadPoolExecutor(1)
    idle = await _longest_gap(store, loop.run_in_executor(writer, time.sleep, 0.5))
    begun = time.perf_counter()
    worst = await _longest_gap(store, loop.run_in_executor(writer, work, store))
    took = time.perf_counter() - begun
    writer.shutdown()
    return worst, idle, took


async def _longest_gap(store: DiskStore, running: asyncio.Future[object]) -> float:
    longest, number = 0.0, 0
    while not running.done():
        begun, waited = time.perf_counter(), _waited_for_a_core()
        store.get(traffic.key(number))
        await asyncio.sleep(0)
        taken_away = _waited_for_a_core() - waited
        longest = max(longest, time.perf_counter() - begun - taken_away)
        number += 1
        await asyncio.sleep(0.001)
    await running
    return 1000 * longest


def _waited_for_a_core() -> float:
    """Seconds for which this thread was ready to run but had no core."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


# -- bulk work


def _bulk(bench: Run) -> None:
    """Entries with their requests, as an export brings them: imported, cleared by model, and ten times too many."""
    number, folder = 3000 if bench.quick else 100_000, bench.folder / "bulk"
    export, filled = bench.folder / "bulk.jsonl", folder / "imported"
    _write_export(export, number)
    works: tuple[tuple[str, int, Callable[[DiskStore], object]], ...] = (
        ("imported", 60, lambda store: _import(store, export)),
        ("cleared by model", 10, lambda store: store.clear(Choice(model=traffic.MODEL))),
        ("brought under a tenth of their size", 60, lambda store: _shrink(store, store.size().bytes // 10)),
    )
    for name, goal, work in works:
        with progress(f"{number:,} entries {name}"):
            place = folder / name
            if filled.exists():
                shutil.copytree(filled, place)
            store = DiskStore(place, 2**40)
            worst, idle, took = asyncio.run(_worst_stall(store, work))
            left = store.size().entries
            store.close()
            detail = f"{left:,} entries after it; {number / took:,.0f} entries a second"
            bench.add(f"{number:,} entries {name}", took, "s", f"<= {goal * number / 100_000:g}", detail)
            detail = f"{idle:.1f} ms with nothing to do"
            bench.add(f"longest wait of a hit while {number:,} are {name}", worst, "ms", "<= 20", detail)
    shutil.rmtree(folder)
    export.unlink()


def _write_export(path: Path, number: int) -> None:
    answers = [traffic.answer(item).decode() for item in range(500)]
    before, after = traffic.template("S")
    request = {"upstream": _URL, "path": traffic.CHAT_PATH, "query": "", "headers": {}}
    line = {
        "format": "chat_completions",
        "model": traffic.MODEL,
        "namespace": "",
        "created_at": 1.7e9,
        "expires_at": None,
        "seconds": 1.0,
        "shape": "json",
        "with_usage": True,
        "headers": {"content-type": "application/json"},
        "chunks": [],
    }
    with path.open("wb") as file:
        file.write(orjson.dumps({EXPORT_MARK: 1}) + b"\n")
        for item in range(number):
            body = orjson.loads(before + traffic.digits(item) + after)
            own = {"key": traffic.key(item), "body": answers[item % 500], "request": request | {"body": body}}
            file.write(orjson.dumps(line | own) + b"\n")


def _import(store: DiskStore, export: Path) -> None:
    environ = {"UPSTREAM_BASE_URL": _URL, "CACHE_DIR": str(store.folder)}
    cache = importing_cache(Settings.load(environ), store, loopback=True)
    summary = keep_all(cache, parallel.read(export, cache, environ), time.time())
    assert not summary.skipped, summary.skipped


# -- size


def _size(bench: Run) -> None:
    number, folder = 4000 if bench.quick else 10_000, bench.folder / "size"
    raw = traffic.fill(folder, _URL, "S", range(number))
    answers = sum(len(traffic.answer(item)) for item in range(number))
    whole, entries = _bytes(folder), _bytes(folder / "entries")
    detail = f"{whole / number:.0f} bytes an entry of {raw / number:.0f}: its request and answer"
    bench.add("size on disk over raw JSON", whole / raw, goal="<= 0.6", detail=detail)
    detail = f"{entries / number:.0f} bytes of {answers / number:.0f}, without the requests beside them"
    bench.add("size of answers on disk over their JSON", entries / answers, goal="<= 0.6", detail=detail)
    shutil.rmtree(folder)


def _bytes(folder: Path) -> int:
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())
