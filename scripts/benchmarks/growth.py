"""The store as it grows: lookups, upkeep beside a running event loop, size on disk, and the search for near entries."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks import traffic
from benchmarks.figures import Run
from computer_use_cache import explain
from computer_use_cache.cache import Cache
from computer_use_cache.models import Request
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

_SOON = 1.0
_URL = "http://127.0.0.1:9/v1"


def measure(bench: Run) -> None:
    """Add the rows."""
    _lookups(bench)
    _upkeep(bench)
    _size(bench)
    _near(bench)


def _filled(folder: Path, number: int, keep_seconds: float | None = None) -> DiskStore:
    store = DiskStore(folder, 2**40)
    for entry in traffic.entries(range(number)):
        store.put(entry, keep_seconds)
    return store


def _lookups(bench: Run) -> None:
    sizes = (1000, 10_000, 50_000) if bench.quick else (1000, 100_000, 1_000_000)
    stores = [_filled(bench.folder / f"growth-{size}", size) for size in sizes]
    seconds: list[list[float]] = [[] for _ in sizes]
    chance = random.Random(1)
    for _ in range(20):
        for store, size, column in zip(stores, sizes, seconds, strict=True):
            keys = [traffic.key(chance.randrange(size)) for _ in range(200)]
            begun = time.perf_counter()
            for key in keys:
                assert store.get(key)
            column.append((time.perf_counter() - begun) / len(keys))
    small, middle, large = (1e6 * median(column) for column in seconds)
    detail = f"{small:.0f} us at {sizes[0]}, {middle:.0f} at {sizes[1]}, {large:.0f} at {sizes[2]}"
    bench.add(f"get at {sizes[2]:,} entries over {sizes[0]:,}", large / small, goal="<= 1.3", detail=detail)
    for store in stores:
        store.close()
    for size in sizes:
        shutil.rmtree(bench.folder / f"growth-{size}")


# -- upkeep


def _upkeep(bench: Run) -> None:
    number = 10_000 if bench.quick else 100_000
    for name, keep, work in (
        ("expire", _SOON, DiskStore.maintain),
        ("clear", None, DiskStore.clear),
        ("evict", None, _evict),
    ):
        folder = bench.folder / name
        store = _filled(folder, number, keep)
        time.sleep(_SOON if keep else 0.0)
        worst, idle, took = asyncio.run(_worst_stall(store, work))
        left = store.size().entries
        detail = f"{took:.1f} s, {left} entries left; {idle:.1f} ms with nothing to do"
        bench.add(f"longest stall during {name} of {number:,} entries", worst, "ms", "<= 20", detail)
        store.close()
        shutil.rmtree(folder)


def _evict(store: DiskStore) -> None:
    """As if the size limit had become nothing."""
    smaller = DiskStore(store.folder, 0)
    smaller.maintain()
    smaller.close()


async def _worst_stall(store: DiskStore, work: Callable[[DiskStore], object]) -> tuple[float, float, float]:
    """The longest time, in milliseconds, that the loop did not come round while it answered lookups: during `work` in
    the writer's thread, and during half a second without it; and how many seconds `work` took."""
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
    """Seconds that this thread was ready to run and other processes had the cores."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


# -- size and near entries


def _size(bench: Run) -> None:
    number, folder = 1000 if bench.quick else 10_000, bench.folder / "size"
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


def _near(bench: Run) -> None:
    number, folder = 3000 if bench.quick else 100_000, bench.folder / "near"
    traffic.fill(folder, _URL, "S", range(number))
    store = DiskStore(folder, 2**40)
    cache = Cache(Settings.load({"UPSTREAM_BASE_URL": _URL}), store, loopback=True)
    chance, seconds, right = random.Random(2), list[float](), 0
    times = 50
    for _ in range(times):
        recorded = traffic.request_body("S", chance.randrange(number))
        wanted = cache.plan(_request(recorded)).key
        words = traffic.LAST_WORDS.encode()
        plan = cache.plan(_request(recorded.replace(words, words + b" Please.")))
        record = cache.record(plan)
        begun = time.perf_counter()
        near = explain.nearest(cache, plan, record)
        seconds.append(time.perf_counter() - begun)
        right += near is not None and near.key == wanted
    store.close()
    detail = f"the median of {times}; right in {right} of them"
    bench.add(f"nearest of {number:,} entries found in", 1000 * median(seconds), "ms", "<= 20", detail)
    bench.add("nearest entry is the right one", 100 * right / times, "%", ">= 100")
    shutil.rmtree(folder)


def _request(body: bytes) -> Request:
    return Request(_URL, traffic.CHAT_PATH, (), {"content-type": "application/json"}, body)
