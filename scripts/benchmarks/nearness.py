"""Near misses: how long the search for the most similar request takes, and how much it adds to a miss."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import servers, traffic
from benchmarks.figures import Run
from benchmarks.servers import Server
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import near_miss, request_record
from computer_use_cache.models import Request
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

_NORMALIZERS = "uuids,timestamps,dates,tmp-paths,tool-call-ids"
_UPSTREAM_SECONDS = 0.03
"""How long the upstream takes. Few models answer faster, and the search runs meanwhile."""


def measure(bench: Run) -> None:
    """Add the rows."""
    number, folder = 2000 if bench.quick else 100_000, bench.folder / "near"
    chance = random.Random(2)
    # Each number is asked once only: its answered request would be nearest to the next one with that number.
    numbers = iter(chance.sample(range(number), 1600))
    with servers.upstream(1, _UPSTREAM_SECONDS) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        traffic.fill(folder, url, "S", range(number))
        _searches(bench, folder, url, number, numbers, 100 if bench.quick else 500)
        name = f"the search adds to a JSON miss, {1000 * _UPSTREAM_SECONDS:.0f} ms upstream"
        _misses(bench, name, "<= 1", upstream, folder, numbers)
    with servers.upstream() as upstream:
        traffic.fill(bench.folder / "at-once", f"http://127.0.0.1:{upstream.port}/v1", "S", range(number // 30))
        fewer = iter(range(number // 30))
        _misses(bench, "the same, upstream at once", "", upstream, bench.folder / "at-once", fewer)


def _edited(number: int) -> bytes:
    words = traffic.LAST_WORDS.encode()
    return traffic.request_body("S", number).replace(words, words + b" Please.")


def _searches(bench: Run, folder: Path, url: str, number: int, numbers: Iterator[int], times: int) -> None:
    store = DiskStore(folder, 2**40)
    for normalizers, told in (("", ""), (_NORMALIZERS, ", five normalisers")):
        settings = Settings.load({"UPSTREAM_BASE_URL": url, "CACHE_NORMALIZE": normalizers})
        cache, seconds, right = Cache(settings, store, loopback=True), list[float](), 0
        for _ in range(times):
            asked = next(numbers)
            wanted = _plan(cache, url, traffic.request_body("S", asked)).key
            plan = _plan(cache, url, _edited(asked))
            record = request_record.record(cache, plan)
            begun = time.perf_counter()
            near = near_miss.nearest(cache, plan, record)
            seconds.append(time.perf_counter() - begun)
            right += near is not None and near.key == wanted
        detail = f"the median of {times}; at most {1000 * max(seconds):.1f} ms; right in {right} of them"
        bench.add(f"nearest of {number:,} entries found in{told}", 1000 * median(seconds), "ms", "<= 20", detail)
        bench.add(f"nearest entry is the right one{told}", 100 * right / times, "%", ">= 100")
    store.close()


def _plan(cache: Cache, url: str, body: bytes) -> Plan:
    return cache.plan(Request(url, traffic.CHAT_PATH, (), {"content-type": "application/json"}, body))


def _misses(bench: Run, name: str, goal: str, upstream: Server, folder: Path, numbers: Iterator[int]) -> None:
    """Compare misses with a near entry and misses in an empty namespace, in turns."""
    times = 20 if bench.quick else 300
    with servers.ours(folder, upstream) as ours:
        connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
        near, alone, past = list[float](), list[float](), list[float]()
        for _ in range(times):
            number = next(numbers)
            for column, headers, reason in (
                (near, {}, "near-miss"),
                (alone, {"x-cache-namespace": f"run-{number}"}, ""),
                (past, {"x-cache-bypass": "true"}, "X-Cache-Bypass"),
            ):
                begun = time.perf_counter()
                connection.request("POST", ours.path, _edited(number), headers)
                answer = connection.getresponse()
                answer.read()
                column.append(time.perf_counter() - begun)
                told = answer.headers.get("x-computer-use-cache-reason", "")
                assert told.partition(" ")[0] == reason, told
        connection.close()
    found, none, bypass = (1000 * median(column) for column in (near, alone, past))
    detail = f"{found:.2f} ms, {none:.2f} with none near, {bypass:.2f} bypassed"
    more = 1000 * median(one - other for one, other in zip(near, alone, strict=True))
    bench.add(name, more, "ms more", goal, detail)
