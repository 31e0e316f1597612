"""Many agents at once. Each asks a new streamed question as soon as the last one is answered.

Run as a program, it takes the JSON of `Agents` and prints the JSON of `Answered`. One thread with epoll and no HTTP
library: the generator shares the machine's cores with what it measures.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "addon")]

from benchmarks import traffic

_HEAD_END = b"\r\n\r\n"
_END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Agents:
    """How many agents, where they ask, and for how long. Their questions have numbers from `first` on."""

    port: int
    path: str
    number: int
    seconds: float
    first: int


@dataclass(frozen=True)
class Answered:
    """How many answers came in how many seconds, and for each the seconds to its first and to its last byte."""

    answers: int
    seconds: float
    first_bytes: list[float]
    wholes: list[float]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def run(agents: Agents) -> Answered:
    """Let the agents ask, from another process."""
    command = [sys.executable, __file__, json.dumps(asdict(agents))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=agents.seconds + 120)
    return Answered(**json.loads(done.stdout))


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


class _Agent:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.begun = self.first_byte = 0.0
        self._received = b""

    def ask(self, question: bytes) -> None:
        self.begun, self.first_byte, self._received = time.perf_counter(), 0.0, b""
        self.socket.sendall(question)

    def receive(self) -> bool:
        """True once the answer is complete."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data
        if not self.first_byte:
            head, _, body = self._received.partition(_HEAD_END)
            if not body:
                return False
            if b" 200 " not in head[:14]:
                raise ValueError(f"not an answer: {head!r}")
            self.first_byte = time.perf_counter()
        self._received = self._received[-len(_END) :]
        return self._received == _END


def ask(agents: Agents) -> Answered:
    """Let the agents ask, from this process."""
    before, after = traffic.template("S", stream=True)
    head = (
        f"POST {agents.path} HTTP/1.1\r\nhost: 127.0.0.1:{agents.port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {'-'.join(('sk', 'bench', 'key'))}\r\n"
        f"content-length: {len(before) + traffic.DIGITS + len(after)}\r\n\r\n"
    ).encode() + before
    epoll, asking, number = select.epoll(), dict[int, _Agent](), agents.first
    first_bytes, wholes = list[float](), list[float]()
    begun = time.perf_counter()
    for _ in range(agents.number):
        agent = _Agent(agents.port)
        asking[agent.socket.fileno()] = agent
        epoll.register(agent.socket, select.EPOLLIN)
        agent.ask(head + traffic.digits(number) + after)
        number += 1
    while asking:
        for file, _ in epoll.poll(60):
            agent = asking[file]
            if not agent.receive():
                continue
            now = time.perf_counter()
            first_bytes.append(agent.first_byte - agent.begun)
            wholes.append(now - agent.begun)
            if now - begun < agents.seconds:
                agent.ask(head + traffic.digits(number) + after)
                number += 1
            else:
                epoll.unregister(file)
                del asking[file]
    return Answered(len(wholes), time.perf_counter() - begun, first_bytes, wholes)


if __name__ == "__main__":
    print(json.dumps(asdict(ask(Agents(**json.loads(sys.argv[1]))))))
