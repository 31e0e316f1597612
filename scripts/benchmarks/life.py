"""A proxy's life: how fast it listens, what several workers bring, and its memory over many requests."""

from __future__ import annotations

import contextlib
from statistics import median

from benchmarks import servers, traffic
from benchmarks.figures import Run
from benchmarks.load import Load, run


def measure(bench: Run) -> None:
    """Add the rows."""
    _start(bench)
    _workers(bench)
    _memory(bench)


def _start(bench: Run) -> None:
    seconds, bare = list[float](), list[float]()
    with servers.upstream() as upstream:
        for _ in range(2 if bench.quick else 7):
            with servers.ours(bench.folder / "start", upstream) as server:
                seconds.append(server.started_in)
            with servers.bare(upstream) as server:
                bare.append(server.started_in)
    bench.add("start to listening", median(seconds), "s", "<= 1.5", f"bare mitmdump {median(bare):.2f} s")


def _workers(bench: Run) -> None:
    store, many = bench.folder / "workers", 1000 if bench.quick else 6000
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(servers.upstream())
        traffic.fill(store, f"http://127.0.0.1:{upstream.port}/v1", "S", range(many))
        for _ in range(1 if bench.quick else 3):
            for workers in ("1", "2"):
                with servers.ours(store, upstream, "--workers", workers) as server:
                    cold = run(Load(server.port, server.path, "S", 64, 0, many, 30, server.mark))
                    warm = run(Load(server.port, server.path, "S", 64, seconds=1.5, mark=server.mark))
                bench.add_rate(f"start --workers {workers}, cold", "S c=64", cold.rate)
                bench.add_rate(f"start --workers {workers}", "S c=64", warm.rate)
    for kind, suffix in (("warm", ""), ("cold", ", cold")):
        two, one = (f"start --workers {workers}{suffix}" for workers in "21")
        bench.add_ratio(f"--workers 2 over 1, {kind}, S, c=64", two, one, "S c=64", ">= 1.6")


def _memory(bench: Run) -> None:
    """Half of the requests are misses, and each of them is asked a second time."""
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
