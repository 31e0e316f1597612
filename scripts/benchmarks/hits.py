"""Hits compared with bare mitmdump and other caches.

Warm hits repeat one request; cold hits are requests that the process has not seen.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

from benchmarks import servers, traffic
from benchmarks.figures import Run
from benchmarks.load import Load, Result, run
from benchmarks.servers import Server, Skipped

_AWAKE_SECONDS = {"S": 0.01, "L": 0.0}
"""Clients wait for small answers without sleeping, whichever program is measured; large ones take milliseconds."""

_PEERS: dict[str, Callable[..., contextlib.AbstractContextManager[Server]]] = {
    "llm-cache-proxy": servers.llm_cache_proxy,
    "LiteLLM, local cache": servers.litellm,
}


def measure(bench: Run) -> None:
    """Add all rates, and the figures that have goals."""
    many = {"S": 1600, "L": 96} if bench.quick else {"S": 16_000, "L": 300}
    store, seen = bench.folder / "hits", list[Result]()
    with contextlib.ExitStack() as stack:
        own, others = stack.enter_context(servers.upstream()), stack.enter_context(servers.upstream())
        for size, number in many.items():
            traffic.fill(store, f"http://127.0.0.1:{own.port}/v1", size, range(number))
        systems: dict[str, Server] = {"load generator alone": others}
        systems["bare mitmdump"] = stack.enter_context(servers.bare(others))
        systems["start"] = stack.enter_context(servers.ours(store, own))
        systems["stock mitmdump -s"] = stack.enter_context(servers.plain(store, own))
        systems["visible flows"] = stack.enter_context(servers.ours(store, own, CACHE_FAST_LANE="off"))
        systems["naive hooks"] = stack.enter_context(servers.naive(bench.folder / "naive", others))
        _add_peers(bench, stack, systems, others)
        for server, size in itertools.product(systems.values(), many):
            run(Load(server.port, server.path, size, 1, first=0, last=1, seconds=30))  # stores the answer
        for _ in range(2 if bench.quick else 5):
            with servers.ours(store, own) as fresh:
                run(Load(fresh.port, fresh.path, "S", 1, first=0, last=1, seconds=30))  # warms up its code
                for size, connections in itertools.product(many, (1, 16) if bench.quick else (1, 16, 64)):
                    seen.append(_cold(bench, fresh, size, connections, many[size]))
                    for name, server in systems.items():
                        result = _warm(bench, name, server, size, connections)
                        seen += [result] if "computer-use" in server.mark else []
        went_up, asked = servers.upstream_calls(own), sum(result.requests for result in seen)
    hits = sum(result.hits for result in seen)
    bench.add_ratio("cold hits, S, c=1, over bare", "start, cold", "bare mitmdump", "S c=1", ">= 6")
    bench.add_ratio("cold hits, S, c=16, over bare", "start, cold", "bare mitmdump", "S c=16", ">= 15")
    bench.add_ratio("warm hits, S, c=16, over bare", "start", "bare mitmdump", "S c=16", ">= 30")
    why = "the original's package is not on npm, so its server cannot be run here"
    bench.add("cold hits, L, c=1, over the Node server's", None, goal=">= 8", detail=why)
    bench.add_ratio("cold hits, L, c=1, over naive hooks (warm)", "start, cold", "naive hooks", "L c=1")
    bench.add_ratio("warm hits, L, c=16, over bare", "start", "bare mitmdump", "L c=16", ">= 2")
    bench.add_ratio("hits as visible flows, S, c=16, over bare", "visible flows", "bare mitmdump", "S c=16", ">= 0.95")
    bench.add_ratio("hits as visible flows, L, c=16, over bare", "visible flows", "bare mitmdump", "L c=16", ">= 0.7")
    for name in _PEERS.keys() & systems.keys():
        for size in "SL":
            bench.add_ratio(f"warm hits, {size}, c=16, over {name}", "start", name, f"{size} c=16")
    detail = f"{hits} of {asked} answers, {went_up} upstream calls"
    bench.add("real hits under concurrency", 100 * hits / asked - 100 * went_up / asked, "%", ">= 100", detail)


def _warm(bench: Run, name: str, server: Server, size: str, connections: int) -> Result:
    seconds = 0.2 if bench.quick else 1.5
    awake = _AWAKE_SECONDS[size]
    result = run(Load(server.port, server.path, size, connections, seconds=seconds, mark=server.mark, awake=awake))
    if not result.bad and (result.hits == result.requests or not server.mark):
        bench.add_rate(name, f"{size} c={connections}", result.rate)
    return result


def _cold(bench: Run, fresh: Server, size: str, connections: int, many: int) -> Result:
    """Send a share of the stored requests once each: a quarter on one connection, three eighths on 16 and on 64."""
    first, last = {1: (1, many // 4), 16: (many // 4, many * 5 // 8), 64: (many * 5 // 8, many)}[connections]
    awake = _AWAKE_SECONDS[size]
    result = run(Load(fresh.port, fresh.path, size, connections, first, last, 30, fresh.mark, awake))
    bench.add_rate("start, cold", f"{size} c={connections}", result.rate)
    return result


def _add_peers(bench: Run, stack: contextlib.ExitStack, systems: dict[str, Server], behind: Server) -> None:
    for name, serve in _PEERS.items():
        try:
            systems[name] = stack.enter_context(serve(bench.folder / name.split(",")[0], behind, not bench.quick))
        except (Skipped, RuntimeError) as why:
            bench.add(name, None, detail=str(why))
