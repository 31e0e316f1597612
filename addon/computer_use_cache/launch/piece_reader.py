"""Gives mitmproxy the bytes of a client in the pieces in which they arrived.

asyncio's own reader copies every byte into a buffer and out of it, and moves the rest of the buffer each time. For a
request of 14 MB, that takes longer than the kernel takes to hand the bytes over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

_MOST_HELD = 512 * 1024
"""The client is read no further while more bytes than this wait for mitmproxy."""


class PieceReader(asyncio.StreamReader):
    """For mitmproxy, which only calls `read`, and takes pieces of any length."""

    def __init__(self) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._is_full = False
        self._news = asyncio.Event()
        """Set when a piece, the end or an error has arrived."""

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        super().set_transport(transport)
        self._source: Any = transport  # uvloop's does not inherit from asyncio's

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # event loops give bytes
        self._pieces.append(data)
        self._held += len(data)
        self._news.set()
        if self._held > _MOST_HELD and not self._is_full:
            self._is_full = True
            self._source.pause_reading()

    def feed_eof(self) -> None:
        super().feed_eof()
        self._news.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._news.set()

    async def read(self, n: int = -1) -> bytes:  # mitmproxy's 64 KB would mean four times as many events
        """The next piece, however long it is; b"" at the end."""
        while self.exception() is None and not self._pieces and not self.at_eof():
            self._news.clear()
            await self._news.wait()
        if error := self.exception():
            raise error
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._is_full and self._held <= _MOST_HELD:
            self._is_full = False
            self._source.resume_reading()
        return piece
