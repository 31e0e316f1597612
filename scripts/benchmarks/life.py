"""A proxy's life: how quickly it and the commands start, what more workers gain, and its memory over many requests."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from statistics import median

from benchmarks import servers, traffic
from benchmarks.figures import Run
from benchmarks.load import Load, run


def measure(bench: Run) -> None:
    """Add the rows."""
    _start(bench)
    _commands(bench)
    _workers(bench)
    _memory(bench)


def _start(bench: Run) -> None:
    seconds, bare = list[float](), list[float]()
    with servers.upstream() as upstream:
        for _ in range(1 if bench.quick else 7):
            with servers.ours(bench.folder / "start", upstream) as server:
                seconds.append(server.started_in)
            with servers.bare(upstream) as server:
                bare.append(server.started_in)
    bench.add("start to listening", median(seconds), "s", "<= 1.5", f"bare mitmdump {median(bare):.2f} s")


def _commands(bench: Run) -> None:
    for arguments, most in ((("run", "--", "true"), "0.5"), (("version",), "0.1")):
        seconds = list[float]()
        for _ in range(2 if bench.quick else 7):
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "computer_use_cache", *arguments],
                env=servers.environment_with(CACHE_DIR=str(bench.folder / "run")),
                check=True,
                capture_output=True,
            )
            seconds.append(time.perf_counter() - begun)
        bench.add(f"`{' '.join(arguments)}`", median(seconds), "s", f"<= {most}")


def _workers(bench: Run) -> None:
    """Compares two workers with one.

    As flows, hits cost the server far more than the load generator. On the fast path they do not: on two cores the
    generator occupies what the second worker would need. The figures are not corrected for that.
    """
    store, many = bench.folder / "workers", 2000 if bench.quick else 6000
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(servers.upstream())
        traffic.fill(store, f"http://127.0.0.1:{upstream.port}/v1", "S", range(many))
        for _ in range(1 if bench.quick else 3):
            for (kind, lane), workers in itertools.product((("visible flows", "off"), ("cold", "on")), "12"):
                with servers.ours(store, upstream, "--workers", workers, CACHE_FAST_LANE=lane) as server:
                    for first, last in ((0, many // 2), (many // 2, many)):  # the first half warms up its code
                        load = Load(server.port, server.path, "S", 64, first, last, 30, server.mark)
                        rate = run(load).rate
                    bench.add_rate(f"start --workers {workers}, {kind}", "S c=64", rate)
                    if kind == "cold":
                        seconds = 0.5 if bench.quick else 1.5
                        again = run(Load(server.port, server.path, "S", 64, seconds=seconds, mark=server.mark))
                        bench.add_rate(f"start --workers {workers}, warm", "S c=64", again.rate)
    for kind in ("visible flows", "cold", "warm"):
        two, one = (f"start --workers {workers}, {kind}" for workers in "21")
        bench.add_ratio(f"--workers 2 over 1, {kind}, S, c=64", two, one, "S c=64", ">= 1.6")


def _memory(bench: Run) -> None:
    """Half of the requests are misses; the other half repeats them."""
    many, piece = (1000, 250) if bench.quick else (100_000, 5000)
    seen = list[float]()
    with servers.upstream() as upstream, servers.ours(bench.folder / "memory", upstream) as server:
        for first in range(0, many // 2, piece // 2):
            for _ in range(2):
                run(Load(server.port, server.path, "M", 16, first, first + piece // 2, 600, server.mark))
            seen.append(server.memory())
    warm = seen[len(seen) // 5 :]
    detail = f"{warm[0]:.0f} MB after {many // 5:,} requests, {seen[-1]:.0f} after {many:,}"
    bench.add(f"memory gained until {many:,} requests of 50 kB", max(warm) - warm[0], "MB", "<= 30", detail)
