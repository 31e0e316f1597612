"""mitmproxy gets what a client sends in the pieces in which it arrived, and a fast client waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from computer_use_cache.launch import piece_reader
from computer_use_cache.launch.piece_reader import PieceReader


class Source(asyncio.Transport):
    """A transport that only notes whether it is read."""

    is_read = True

    def pause_reading(self) -> None:
        assert self.is_read
        self.is_read = False

    def resume_reading(self) -> None:
        assert not self.is_read
        self.is_read = True


def reader() -> tuple[PieceReader, Source]:
    made, source = PieceReader(), Source()
    made.set_transport(source)
    return made, source


def test_pieces_arrive_uncopied_and_in_order() -> None:
    async def run() -> None:
        made, _ = reader()
        first, second = b"x" * 200_000, b"y"
        waiting = asyncio.create_task(made.read(65535))
        await asyncio.sleep(0)
        made.feed_data(first)
        made.feed_data(second)
        made.feed_eof()
        assert await waiting is first
        assert await made.read(65535) is second
        assert await made.read(65535) == b""
        assert await made.read(65535) == b""

    asyncio.run(run())


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda made: made.feed_eof(), b""),
        (lambda made: made.set_exception(ConnectionResetError()), ConnectionResetError),
    ],
)
def test_the_end_of_a_connection_reaches_who_waits(
    end: Callable[[PieceReader], None], expected: bytes | type[Exception]
) -> None:
    async def run() -> bytes:
        made, _ = reader()
        waiting = asyncio.create_task(made.read(65535))
        await asyncio.sleep(0)
        end(made)
        return await waiting

    if isinstance(expected, bytes):
        assert asyncio.run(run()) == expected
    else:
        with pytest.raises(expected):
            asyncio.run(run())


def test_a_client_that_sends_faster_than_it_is_read_is_held_back() -> None:
    async def run() -> None:
        made, source = reader()
        piece = bytes(piece_reader._MOST_HELD // 2)
        for _ in range(2):
            made.feed_data(piece)
            assert source.is_read
        made.feed_data(piece)
        made.feed_data(piece)
        assert not source.is_read
        await made.read(65535)
        assert not source.is_read
        await made.read(65535)
        assert source.is_read

    asyncio.run(run())
