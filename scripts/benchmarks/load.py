"""Sends prebuilt requests as fast as they are answered, over several connections, with epoll and no HTTP library.

Run as a program, it takes the JSON of a `Load` and prints the JSON of a `Result`. `bench` measures its limit against a
server that does nothing (the row "load generator alone").
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "addon")]

from benchmarks import traffic

_LENGTH = re.compile(rb"content-length: *(\d+)")


@dataclass(frozen=True)
class Load:
    """What to send: requests number `first` to `last` once each, or number `first` repeatedly for `seconds`.

    `mark` is a text that the lower-case head of an answer contains if it is a hit. A client polls for `awake` seconds
    before it sleeps, because waking a process costs the server more than some answers do.
    """

    port: int
    path: str
    size: str
    connections: int
    first: int = 0
    last: int | None = None
    seconds: float = 1.0
    mark: str = ""
    awake: float = 0.0


@dataclass(frozen=True)
class Result:
    """The result: `bad` answers were not a 200, `hits` had the mark; `median` and `worst` are latencies in seconds."""

    requests: int
    seconds: float
    hits: int
    bad: int
    median: float
    worst: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def run(load: Load) -> Result:
    """Send the load from another process."""
    command = [sys.executable, __file__, json.dumps(asdict(load))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=load.seconds + 600)
    return Result(**json.loads(done.stdout))


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent = memoryview(b"")
        self.received = b""
        self.missing = -1
        self.begun = 0.0

    def send(self, parts: list[bytes]) -> None:
        self.begun, self.received, self.missing = time.perf_counter(), b"", -1
        try:
            sent = self.socket.sendmsg(parts)
        except BlockingIOError:
            sent = 0
        if sent < sum(map(len, parts)):
            self.unsent = memoryview(b"".join(parts))[sent:]

    def send_more(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.unsent = self.unsent[self.socket.send(self.unsent) :]

    def receive(self) -> bool:
        """True if the answer is complete; `received` begins with its head."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed the connection")
        if self.missing >= 0:
            self.missing -= len(data)
            return self.missing <= 0
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.received, got = self.received[:end].lower(), len(self.received) - end - 4
        length = _LENGTH.search(self.received)
        if not length:
            raise ValueError(f"an answer without its length: {self.received!r}")
        self.missing = int(length[1]) - got
        return self.missing <= 0


def _wait(epoll: select.epoll, awake: float) -> list[tuple[int, int]]:
    """The sockets that can be read."""
    until = time.perf_counter() + awake
    while time.perf_counter() < until:
        if ready := epoll.poll(0):
            return ready
    return epoll.poll(60)


def send(load: Load) -> Result:
    """Send the load from this process."""
    before, after = traffic.template(load.size)
    length = len(before) + traffic.DIGITS + len(after)
    head = (
        f"POST {load.path} HTTP/1.1\r\nhost: 127.0.0.1:{load.port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {'-'.join(('sk', 'bench', 'key'))}\r\ncontent-length: {length}\r\n\r\n"
    ).encode() + before
    numbers = iter(range(load.first, load.last)) if load.last is not None else None
    same, mark, latencies = [head, traffic.digits(load.first), after], load.mark.encode(), list[float]()
    epoll, connections = select.epoll(), dict[int, _Connection]()
    hits = bad = 0
    begun = time.perf_counter()
    until = begun + load.seconds

    def send_next(connection: _Connection) -> bool:
        number = next(numbers, None) if numbers else load.first
        if number is None or time.perf_counter() > until:
            return False
        connection.send([head, traffic.digits(number), after] if numbers else same)
        if connection.unsent:
            epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return True

    for _ in range(load.connections):
        connection = _Connection(load.port)
        connections[connection.socket.fileno()] = connection
        epoll.register(connection.socket.fileno(), select.EPOLLIN)
        if not send_next(connection):
            del connections[connection.socket.fileno()]
    while connections:
        for number, event in _wait(epoll, load.awake):
            connection = connections[number]
            if event & select.EPOLLOUT:
                connection.send_more()
                if not connection.unsent:
                    epoll.modify(number, select.EPOLLIN)
            if not event & ~select.EPOLLOUT or not connection.receive():
                continue
            latencies.append(time.perf_counter() - connection.begun)
            bad += b" 200 " not in connection.received[:14]
            hits += mark in connection.received
            if not send_next(connection):
                epoll.unregister(number)
                del connections[number]
    seconds = time.perf_counter() - begun
    latencies.sort()
    median, worst = (latencies[len(latencies) // 2], latencies[-1]) if latencies else (0.0, 0.0)
    return Result(len(latencies), seconds, hits, bad, median, worst)


if __name__ == "__main__":
    print(json.dumps(asdict(send(Load(**json.loads(sys.argv[1]))))))
