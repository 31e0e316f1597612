"""An HTTP proxy that only does CONNECT, as companies have between their machines and the internet."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator


class Tunnels(socketserver.ThreadingTCPServer):
    """`asked` are the targets; each is reached at the port `to` of this machine, where that is given."""

    daemon_threads = True

    def __init__(self, to: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.to = to
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Tunnel(socketserver.StreamRequestHandler):
    server: Tunnels

    def handle(self) -> None:
        target = self.rfile.readline().decode().split()[1]
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(target)
        host, _, port = target.rpartition(":")
        address = ("127.0.0.1", self.server.to) if self.server.to else (host, int(port))
        with socket.create_connection(address) as server:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_copy, args=(server, self.connection))
            back.start()
            _copy(self.connection, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def running_tunnels(to: int | None = None) -> Iterator[Tunnels]:
    """Such a proxy, on a free loopback port."""
    with Tunnels(to) as tunnels:
        threading.Thread(target=tunnels.serve_forever, daemon=True).start()
        yield tunnels
        tunnels.shutdown()
