"""Rebinding: what it adds to an exact hit and to a miss, and how much longer a rebound hit takes than an exact one.

All is measured in one process, by calling the core. Every request has a text that was not seen before.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import traffic
from benchmarks.figures import Run
from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import request_record
from computer_use_cache.exchange.decide import Decider
from computer_use_cache.exchange.decisions import Forward, Serve
from computer_use_cache.flights.flight import Flights
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

_UPSTREAM = "https://upstream.test/v1"
_GOALS = {5: "", 50: "", 80: "<= 2", 500: ""}
"""In milliseconds, by the size of the text in KB."""
_SCREENSHOTS, _SCREENSHOT_BYTES = 20, 520_000
"""Of 0.7 MB each, as base64."""
_HIT_KB = 80


def measure(bench: Run) -> None:
    """Add the rows."""
    folder = bench.folder / "rebinding"
    store = DiskStore(folder, 2**40)
    on, off = (_side(folder, store, rebind) for rebind in ("on", "off"))
    chance = random.Random(5)
    for size, goal in _GOALS.items():
        times = (15 if bench.quick else 60) if size < 500 else (5 if bench.quick else 20)
        name = f"rebinding adds to a miss with {size} KB of text"
        _miss(bench, name, goal, on, off, lambda size=size: _body(chance, size), times)
    pictures = [base64.b64encode(chance.randbytes(_SCREENSHOT_BYTES)).decode() for _ in range(_SCREENSHOTS)]
    name = f"rebinding adds to a miss with {_SCREENSHOTS} screenshots"
    _miss(bench, name, "", on, off, lambda: _body(chance, 5, pictures), 3 if bench.quick else 10)
    _hits(bench, on, off, chance, 15 if bench.quick else 60)
    store.close()


def _side(folder: Path, store: DiskStore, rebind: str) -> tuple[Cache, Decider]:
    settings = Settings.load({"UPSTREAM_BASE_URL": _UPSTREAM, "CACHE_DIR": str(folder), "CACHE_REBIND": rebind})
    cache = Cache(settings, store, loopback=True)
    return cache, Decider(cache, Flights())


def _body(chance: random.Random, size: int, pictures: list[str] | None = None, moved: int = 0) -> bytes:
    """A request with `size` KB of text in messages of up to 5 KB, each with a time and a temporary path."""
    words = random.Random(chance.random())
    spoken = [_message(words, f"{traffic.text(words, 4900)} {_moving(moved)}") for _ in range(max(size // 5, 1))]
    for picture in pictures or ():
        url = {"url": f"data:image/png;base64,{picture}"}
        spoken.append({"role": "user", "content": [{"type": "image_url", "image_url": url}]})
    return json.dumps({"model": traffic.MODEL, "messages": spoken}).encode()


def _message(words: random.Random, content: str) -> dict[str, Any]:
    return {"role": words.choice(("user", "assistant")), "content": content}


def _moving(moved: int) -> str:
    return f"At 2026-11-{10 + moved}T07:54:38Z it is in /tmp/tmp.k3J9xQ2aL{moved}."


def _plan(cache: Cache, body: bytes) -> Plan:
    return cache.plan(Request(_UPSTREAM, traffic.CHAT_PATH, (), {"content-type": "application/json"}, body))


def _seconds(work: Callable[[], object]) -> float:
    """CPU time: nothing here waits, and the machine may have other things to do."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def _miss(
    bench: Run,
    name: str,
    goal: str,
    on: tuple[Cache, Decider],
    off: tuple[Cache, Decider],
    body: Callable[[], bytes],
    times: int,
) -> None:
    """Decisions about requests that nothing answers, with rebinding and without, in turns."""
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(times):
        sent = body()
        for side, (cache, decider) in (("off", off), ("on", on)):
            plan = _plan(cache, sent)
            seconds[side].append(_seconds(lambda plan=plan, decider=decider: _missed(decider, plan)))
    with_it, without = (1000 * median(seconds[side]) for side in ("on", "off"))
    more = 1000 * median(one - other for one, other in zip(seconds["on"], seconds["off"], strict=True))
    bench.add(name, more, "ms more", goal, f"{with_it:.2f} ms to decide, {without:.2f} without; median of {times}")


def _missed(decider: Decider, plan: Plan) -> None:
    assert isinstance(decider.decide(plan, time.time()).decision, Forward)


def _hits(bench: Run, on: tuple[Cache, Decider], off: tuple[Cache, Decider], chance: random.Random, times: int) -> None:
    """Exact hits with rebinding and without, and rebound hits of the same size."""
    exact, without, moved = list[float](), list[float](), list[float]()
    for _ in range(times):
        seed = chance.random()
        recorded, other = (_body(random.Random(seed), _HIT_KB, moved=at) for at in (1, 2))
        _store(off[0], recorded)
        for column, (cache, decider), sent in ((without, off, recorded), (exact, on, recorded), (moved, on, other)):
            plan = _plan(cache, sent)
            column.append(_seconds(lambda plan=plan, decider=decider: _served(decider, plan)))
    hit, plain, rebound_hit = (1000 * median(column) for column in (exact, without, moved))
    more = 1000 * median(one - other for one, other in zip(exact, without, strict=True))
    detail = f"{hit:.2f} ms to decide, {plain:.2f} without; median of {times}"
    bench.add(f"rebinding adds to an exact hit of {_HIT_KB} KB", more, "ms more", "<= 0.1", detail)
    more = 1000 * median(one - other for one, other in zip(moved, exact, strict=True))
    detail = f"{rebound_hit:.2f} ms to decide, {hit:.2f} for an exact one; median of {times}"
    bench.add(f"a rebound hit of {_HIT_KB} KB takes longer than an exact one by", more, "ms", "<= 3", detail)


def _store(cache: Cache, body: bytes) -> None:
    plan = rebound.with_template(cache, rebound.prepare(cache, _plan(cache, body)))
    answer = Response(200, {"content-type": "application/json"}, traffic.answer(), 1.0)
    kept = cache.judge(plan, answer, time.time())
    assert isinstance(kept, Entry), kept
    cache.keep(kept, time.time(), request_record.record(cache, plan))


def _served(decider: Decider, plan: Plan) -> None:
    assert isinstance(decider.decide(plan, time.time()).decision, Serve)
