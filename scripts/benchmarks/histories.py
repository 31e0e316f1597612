"""Computer-use histories: requests with 1, 5 and 20 screenshots, whose last message is new each time.

The upstream answers at once, so a miss takes no longer than what the cache adds to it.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from statistics import median

from benchmarks import servers, traffic
from benchmarks.figures import Run
from benchmarks.servers import Server

_SIZES = {"30 kB": 30_000, "0.7 MB": 525_000}
"""Bytes of a screenshot; base64 makes them a third longer."""
_SHOTS = 1, 5, 20


def measure(bench: Run) -> None:
    """Add the rows."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(servers.upstream())
        ours = stack.enter_context(servers.ours(bench.folder / "histories", upstream))
        direct, through = (stack.enter_context(_connected(server)) for server in (upstream, ours))
        for (size, length), shots in itertools.product(_SIZES.items(), _SHOTS):
            before, after = _history(length, shots)
            seconds: dict[str, list[float]] = {"direct": [], "miss": [], "hit": []}
            for _ in range(4 if bench.quick else 20):
                body = before + traffic.digits(next(numbers)) + after
                for name, connection in (("direct", direct), ("miss", through), ("hit", through)):
                    seconds[name].append(_ask(connection, body, is_hit=name == "hit"))
            _add(bench, f"{shots} screenshots of {size}", seconds, is_goal=shots == max(_SHOTS) and size == "0.7 MB")


def _add(bench: Run, history: str, seconds: dict[str, list[float]], *, is_goal: bool) -> None:
    direct, miss, hit = (1000 * median(seconds[name][1:]) for name in ("direct", "miss", "hit"))  # the first warms up
    detail = f"{miss:.1f} ms, direct {direct:.1f}"
    bench.add(f"miss with {history}, over direct", miss - direct, "ms more", "<= 40" if is_goal else "", detail)
    bench.add(f"hit with {history}", hit, "ms", "<= 20" if is_goal else "")


@contextlib.contextmanager
def _connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def _ask(connection: socket.socket, body: bytes, *, is_hit: bool) -> float:
    head = (
        f"POST {Server.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {'-'.join(('sk', 'bench', 'key'))}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    begun = time.perf_counter()
    connection.sendall(head.encode() + body)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(262_144)
    answer_head, _, answer = received.partition(b"\r\n\r\n")
    length = int(answer_head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(answer) < length:
        answer += connection.recv(262_144)
    seconds = time.perf_counter() - begun
    assert (b"x-computer-use-cache: hit" in answer_head.lower()) == is_hit, answer_head
    return seconds


def _history(length: int, shots: int) -> tuple[bytes, bytes]:
    """The parts of a request before and after a number in its last message."""
    chance = random.Random(length * shots)
    messages: list[dict[str, object]] = [{"role": "system", "content": traffic.text(chance, 1100)}]
    for step in range(shots):
        data = base64.b64encode(_png(chance.randbytes(length))).decode()
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        messages += [{"role": "assistant", "content": f"Step {step}."}, {"role": "user", "content": [picture]}]
    messages.append({"role": "user", "content": "number ########"})
    body = json.dumps({"model": traffic.MODEL, "messages": messages}, separators=(",", ":")).encode()
    before, _, after = body.partition(b"########")
    return before, after


def _png(pixels: bytes) -> bytes:
    """A file with the head of a PNG; its pixels are never decoded."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 1280, 800, 8, 2, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b""))
    chunks = (struct.pack(">I", len(data)) + kind + data + _check(kind + data) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _check(part: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(part))
