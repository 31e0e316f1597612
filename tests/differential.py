"""The same exchange past the proxy and through it, over raw sockets: what does the client get?"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from enum import Enum, auto

import h11

_SECONDS = 30.0


class Step(Enum):
    """What a provider does beside sending bytes."""

    UNTIL_SEEN = auto()
    """Wait until the client has got something of what was sent so far."""
    PAUSE = auto()
    RESET = auto()


@dataclass(frozen=True)
class Script:
    """What a provider does with one request: it reads all of it, or only its head, then takes the steps and closes."""

    steps: tuple[bytes | Step, ...]
    reads_body: bool = True


@dataclass
class Seen:
    """What a client got. `end` is "whole", "cut", or "nothing" where no final response came."""

    interim: list[int] = field(default_factory=list)
    status: int | None = None
    kind: str = ""
    body: bytes = b""
    end: str = "nothing"
    coded: bool = False
    """Whether the response came with a transfer coding."""
    delimited: bool = False
    """Whether the response says where it ends, by a length or a transfer coding."""


class Provider:
    """Plays the current script on each connection."""

    def __init__(self) -> None:
        self.script = Script(())
        self.seen = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(_SECONDS)
        script, seen = self.script, self.seen
        with contextlib.suppress(OSError), connection:
            _read_request(connection, whole=script.reads_body)
            for step in script.steps:
                match step:
                    case bytes():
                        connection.sendall(step)
                    case Step.UNTIL_SEEN:
                        if not seen.wait(_SECONDS):
                            return
                        seen.clear()
                    case Step.PAUSE:
                        time.sleep(0.01)
                    case Step.RESET:
                        linger = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):  # closing with bytes unread would reset what was sent
                pass

    def close(self) -> None:
        self._server.close()


def _read_request(connection: socket.socket, *, whole: bool) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = received.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    length = int(lines.get(b"content-length", b"0"))
    is_chunked = lines.get(b"transfer-encoding") == b"chunked"
    while whole and (len(body) < length or (is_chunked and not body.endswith(b"0\r\n\r\n"))):
        if not (data := connection.recv(65536)):
            return
        body += data


def ask(port: int, head: bytes, body: bytes, provider: Provider, *, holds_body: bool = False) -> Seen:
    """Send one request and read its answer; with `holds_body` the body is held back for ever: only a response that
    comes before it can end the exchange."""
    seen = Seen()
    parser = h11.Connection(h11.CLIENT)
    method, target, _ = head.split(b" ", 2)
    parser.send(h11.Request(method=method, target=target, headers=[("host", "x")]))
    parser.send(h11.EndOfMessage())
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        with contextlib.suppress(OSError):  # a provider may refuse what is still being sent
            connection.sendall(head)
            if not holds_body:
                connection.sendall(body)
        with contextlib.suppress(OSError, h11.RemoteProtocolError):
            while seen.end != "whole":
                data = connection.recv(65536)
                parser.receive_data(data)
                _note(parser, seen)
                if data:
                    provider.seen.set()
    if seen.status is not None and seen.end != "whole":
        seen.end = "cut"
    return seen


def _note(parser: h11.Connection, seen: Seen) -> None:
    while True:
        match parser.next_event():
            case h11.InformationalResponse(status_code=status):
                seen.interim.append(status)
            case h11.Response(status_code=status, headers=headers):
                lines = dict(headers)
                seen.status, seen.kind = status, lines.get(b"content-type", b"").decode()
                seen.coded = b"transfer-encoding" in lines
                seen.delimited = seen.coded or b"content-length" in lines
            case h11.Data(data=data):
                seen.body += data
            case h11.EndOfMessage():
                seen.end = "whole"
                return
            case _:
                return


def agree(direct: Seen, through: Seen) -> bool:
    """Whether a client gets the same through the proxy as it would have got without it.

    Two differences remain. Where the provider breaks off before the proxy has passed anything on, the client gets a 502
    that says so. And mitmproxy does not tell a reset from the orderly end of a connection, so an answer that only this
    end delimits looks whole after a reset.
    """
    if direct.end != "whole" and through.status == 502:
        return True
    if direct.end == "cut" and not direct.delimited:
        through.end = "cut"
    return all(getattr(direct, name) == getattr(through, name) for name in ("interim", "status", "kind", "body", "end"))
