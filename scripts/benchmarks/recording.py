"""Runs: what recording a call costs the call itself, and the thread that writes."""

from __future__ import annotations

import time
from statistics import median

from benchmarks import traffic
from benchmarks.figures import Run
from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.models import Cost, Request
from computer_use_cache.runs.recorder import MOST_PENDING, Recorder
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

_URL = "https://api.example/v1"
_COST = Cost(1000, 200, 0.01, 2.0)


def measure(bench: Run) -> None:
    """Add the rows."""
    store = DiskStore(bench.folder / "recording", 2**30)
    cache = Cache(Settings.load({"UPSTREAM_BASE_URL": _URL}), store, loopback=True)
    times = 5 if bench.quick else 50
    repeated = [_plan(cache, 0).without_bodies()] * MOST_PENDING
    many = [_plan(cache, number) for number in range(MOST_PENDING)]
    hits, flushes = _measured(cache, repeated, times)
    bench.add("recording adds to a repeated hit", hits, "µs", "<= 2", "an append; the median of many rounds")
    hits, _ = _measured(cache, many, times)
    bench.add(
        "the same, 4 KB requests that are new to the process", hits, "µs", "", "with the head of the conversation"
    )
    bench.add(
        "the thread that writes, for each recorded call", flushes, "µs", "<= 50", f"{MOST_PENDING:,} a second at most"
    )
    store.close()


def _plan(cache: Cache, number: int) -> Plan:
    headers = {"content-type": "application/json", "x-cache-run": "bench"}
    return cache.plan(Request(_URL, traffic.CHAT_PATH, (), headers, traffic.request_body("S", number)))


def _measured(cache: Cache, asked: list[Plan], times: int) -> tuple[float, float]:
    """Microseconds for each call: of the request itself, and of the thread that writes."""
    recorder, hits, flushes = Recorder(cache, Ledger(cache.store), ""), list[float](), list[float]()
    for _ in range(times):
        cache.store.run_log.clear()  # a run keeps its first calls only
        begun = time.perf_counter()
        for plan in asked:
            recorder.hit(plan, plan.key, _COST, 1.0, 2.0)
        done = time.perf_counter()
        recorder.flush()
        hits.append((done - begun) / len(asked))
        flushes.append((time.perf_counter() - done) / len(asked))
    return 1e6 * median(hits), 1e6 * median(flushes)
