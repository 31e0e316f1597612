"""Streamed misses: the first byte, a paced stream and a burst, through the cache, bare mitmdump and directly."""

from __future__ import annotations

import re
import socket
import time
from statistics import median

from benchmarks import servers, traffic
from benchmarks.figures import Run
from benchmarks.servers import Server

_END = b"0\r\n\r\n"


class _Client:
    """One kept connection to a server."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before, self._after = traffic.template("S", stream=True)
        length = len(before) + traffic.DIGITS + len(self._after)
        key = "-".join(("sk", "bench", "key"))
        head = f"POST {server.path} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\ncontent-type: application/json\r\n"
        self._before = f"{head}authorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n".encode() + before

    def ask(self, number: int) -> tuple[float, float]:
        """Seconds until the first byte of the body, and until the end."""
        begun = time.perf_counter()
        self._socket.sendall(self._before + traffic.digits(number) + self._after)
        received, first = b"", 0.0
        while not received.endswith(_END):
            data = self._socket.recv(262_144)
            assert data, "the stream was cut"
            received = received[-len(_END) :] + data if first else received + data
            if not first and re.search(rb"\r\n\r\n.", received, re.DOTALL):
                first = time.perf_counter() - begun
        return first, time.perf_counter() - begun


def measure(bench: Run) -> None:
    """Add the rows."""
    for name, chunks, gap, times in (
        ("first", 5, 0.0005, 200 if bench.quick else 1500),
        ("paced", 50, 0.01, 2 if bench.quick else 5),
        ("burst", 2000, 0.0, 8 if bench.quick else 40),
    ):
        direct, bare, ours = _seconds(bench, name, chunks, gap, times)
        (first_direct, direct_whole), (first_bare, bare_whole), (first_ours, our_whole) = direct, bare, ours
        if name == "first":
            detail = f"{first_ours:.2f} ms, bare {first_bare:.2f}, direct {first_direct:.2f}"
            more = first_ours - first_bare
            bench.add("first byte of a streamed miss, over bare", more, "ms more", "<= 0.5", detail)
            continue
        detail = f"{our_whole:.1f} ms, bare {bare_whole:.1f}, direct {direct_whole:.1f}"
        label, goal = ("paced stream (50 chunks 10 ms apart)", "") if gap else ("burst of 2000 chunks", "<= 4")
        bench.add(f"{label}, over direct", our_whole / direct_whole, goal=goal, detail=detail)


def _seconds(bench: Run, name: str, chunks: int, gap: float, times: int) -> list[tuple[float, float]]:
    """The medians, in milliseconds, of the first byte and the whole: directly, through bare mitmdump, and ours."""
    with (
        servers.upstream(chunks, gap) as upstream,
        servers.bare(upstream, "stream") as bare,
        servers.ours(bench.folder / name, upstream) as ours,
    ):
        clients = [_Client(server) for server in (upstream, bare, ours)]
        for client in clients:
            client.ask(0)
        seen = [[client.ask(number) for client in clients] for number in range(1, times + 1)]
    columns = [list(zip(*column, strict=True)) for column in zip(*seen, strict=True)]
    return [(1000 * median(first), 1000 * median(whole)) for first, whole in columns]
