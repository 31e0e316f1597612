"""A model API on a loopback port, in its own process: `upstream.py CHUNKS GAP_SECONDS`. Prints its port.

Answers with a chat completion after the gap. Streams have CHUNKS chunks with the gap between them (0: all at once). A
GET returns the number of requests so far.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "addon")]

from benchmarks import traffic

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(**choice: object) -> bytes:
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": traffic.MODEL}
    choices = [{"index": 0, "delta": {}, "finish_reason": None} | choice]
    return _chunk(b"data: " + json.dumps(event | {"choices": choices}).encode() + b"\n\n")


class Upstream(asyncio.Protocol):
    """One connection."""

    asked = 0
    answer = _whole(traffic.answer())
    chunks: list[bytes]
    gap: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = bytearray()
        self._end = 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._received:
            if not self._end:
                head_end = self._received.find(b"\r\n\r\n")
                if head_end < 0:
                    return
                length = _LENGTH.search(self._received, 0, head_end)
                self._end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < self._end:
                return
            request = bytes(self._received[: self._end])
            del self._received[: self._end]
            self._end = 0
            self._serve(request)

    def _serve(self, request: bytes) -> None:
        if request.startswith(b"GET"):
            self._transport.write(_whole(str(Upstream.asked).encode()))
            return
        Upstream.asked += 1
        if not _STREAM.search(request):
            asyncio.get_running_loop().call_later(self.gap, self._transport.write, self.answer)
        elif self.gap:
            self._stream = asyncio.create_task(self._write_slowly())
        else:
            self._transport.write(_STREAM_HEAD)
            for piece in self.chunks:
                self._transport.write(piece)

    async def _write_slowly(self) -> None:
        self._transport.write(_STREAM_HEAD)
        for piece in self.chunks:
            self._transport.write(piece)
            await asyncio.sleep(self.gap)


async def _main(chunks: int, gap: float) -> None:
    texts = [_event(delta={"role": "assistant", "content": f"word{number} "}) for number in range(chunks)]
    Upstream.chunks = [*texts, _event(finish_reason="stop"), _chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]
    Upstream.gap = gap
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
