"""Streamed misses: the first byte, a paced stream and a burst; through `start`, our addon in stock mitmdump, bare
mitmdump, and directly. The upstream writes each event by itself, as providers do.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from statistics import median

import openai

from benchmarks import servers, traffic
from benchmarks.figures import Run
from benchmarks.servers import Server

_END = b"0\r\n\r\n"


class _Client:
    """A persistent connection to a server."""

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


class _Sdk:
    """The openai package, which creates an object for every event, as agents do."""

    def __init__(self, server: Server) -> None:
        key = "-".join(("sk", "bench", "key"))
        self._client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0)
        before, self._after = traffic.template("S", stream=True)
        self._before = before

    def ask(self, number: int) -> tuple[float, float]:
        """Seconds until the first event, and until the last."""
        request = json.loads(self._before + traffic.digits(number) + self._after)
        begun, first = time.perf_counter(), 0.0
        for _ in self._client.chat.completions.create(**request):
            first = first or time.perf_counter() - begun
        return first, time.perf_counter() - begun


def measure(bench: Run) -> None:
    """Add the rows."""
    _first_byte(bench)
    paced = "paced stream (50 chunks 10 ms apart), over direct"
    if bench.quick:
        bench.add(paced, None, detail="left out of a quick run")
    else:
        bench.add(paced, *_over_direct(_seconds(bench, "paced", _Client, 50, 0.01, 5), "start"))
    times = 3 if bench.quick else 40
    for client, reader in ((_Sdk, "read by the openai package"), (_Client, "read as bytes")):
        seen = _seconds(bench, f"burst {reader}", client, 2000, 0.0, times)
        for name in ("start", "mitmdump -s"):
            ratio, unit, _, detail = _over_direct(seen, name)
            bench.add(f"burst of 2000 chunks, {reader}, {name} over direct", ratio, unit, "<= 4", detail)


def _first_byte(bench: Run) -> None:
    seen = _seconds(bench, "first", _Client, 5, 0.0005, 60 if bench.quick else 1500)
    for name in ("start", "mitmdump -s"):
        detail = f"{seen[name][0]:.2f} ms, bare {seen['bare'][0]:.2f}, direct {seen['direct'][0]:.2f}"
        more = seen[name][0] - seen["bare"][0]
        bench.add(f"first byte of a streamed miss, {name} over bare", more, "ms more", "<= 0.5", detail)


def _over_direct(seen: dict[str, tuple[float, float]], name: str) -> tuple[float, str, str, str]:
    """The arguments of a figure without a goal: how much longer the whole stream takes than directly."""
    whole, bare, direct = (seen[system][1] for system in (name, "bare", "direct"))
    return whole / direct, "x", "", f"{whole:.1f} ms, bare {bare:.1f}, direct {direct:.1f}"


def _seconds(
    bench: Run, folder: str, make: type[_Client | _Sdk], chunks: int, gap: float, times: int
) -> dict[str, tuple[float, float]]:
    """Medians in milliseconds of the first byte and of the whole stream, by route."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(servers.upstream(chunks, gap))
        ways = {
            "direct": upstream,
            "bare": stack.enter_context(servers.bare(upstream, "stream")),
            "start": stack.enter_context(servers.ours(bench.folder / folder / "start", upstream)),
            "mitmdump -s": stack.enter_context(servers.plain(bench.folder / folder / "plain", upstream)),
        }
        clients = [make(server) for server in ways.values()]
        for client in clients:
            client.ask(0)
        seen = [[client.ask(number) for client in clients] for number in range(1, times + 1)]
    columns = (list(zip(*column, strict=True)) for column in zip(*seen, strict=True))
    medians = [(1000 * median(first), 1000 * median(whole)) for first, whole in columns]
    return dict(zip(ways, medians, strict=True))
