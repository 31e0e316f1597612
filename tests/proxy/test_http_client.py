"""The bulk reader says what h11's own says of the same bytes, in fewer pieces and without trailers."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from h11 import Data, EndOfMessage, LocalProtocolError
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer

from computer_use_cache.proxy.http.client import BulkReader

SOUND = {
    "one chunk": b"5\r\nhello\r\n0\r\n\r\n",
    "many chunks": b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in range(1, 40)) + b"0\r\n\r\n",
    "nothing": b"0\r\n\r\n",
    "extensions": b'3;name="a;b"\r\nabc\r\n3\r\ndef\r\n0;last\r\n\r\n',
    "zeros before and capitals": b"0003\r\nabc\r\n0A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
    "line ends inside": b"4\r\n\r\n\r\n\r\n6\r\n\r\n3\r\nx\r\n0\r\n\r\n",
    "trailers": b"3\r\nabc\r\n3\r\ndef\r\n0\r\nName: value\r\n\r\n",
    "more than the body": b"3\r\nabc\r\n0\r\n\r\n3\r\ndef\r\n0\r\n\r\n",
}
MALFORMED = {
    "no number": b"3\r\nabc\r\n3\r\ndef\r\nzz\r\nghi\r\n0\r\n\r\n",
    "a sign": b"3\r\nabc\r\n+3\r\ndef\r\n0\r\n\r\n",
    "a long number": b"3\r\nabc\r\n" + b"0" * 20 + b"3\r\ndef\r\n0\r\n\r\n",
    "a chunk longer than it says": b"3\r\nabc\r\n3\r\ndefg\r\n0\r\n\r\n",
    "bare line feeds": b"3\r\nabc\r\n3\ndef\n0\n\n",
    "unfinished": b"3\r\nabc\r\nff\r\ndef",
    "a huge chunk": b"3\r\nabc\r\nffffffffffffffff\r\ndef",
}


@dataclass(frozen=True)
class Read:
    """What a reader made of a body: its data, the end if it came (a fault's text), and what it left."""

    data: bytes
    end: str
    rest: bytes


def read(reader: ChunkedReader, reads: list[bytes], *, passes_on: bool = False) -> tuple[Read, list[bytes]]:
    """What comes of these reads from a socket, and the pieces in which the data came. With `passes_on`, whole chunks
    are read by themselves."""
    buf, pieces = ReceiveBuffer(), list[bytes]()
    for received in reads:
        if passes_on and isinstance(reader, BulkReader) and not buf:
            whole = reader.whole_chunks(received)
            if whole is not None:
                pieces.append(whole)
                continue
        buf += received
        try:
            while isinstance(event := reader(buf), Data):
                pieces.append(bytes(event.data))
        except LocalProtocolError as error:
            return Read(b"".join(pieces), str(error), b""), pieces
        if isinstance(event, EndOfMessage):
            assert not (event.headers and isinstance(reader, BulkReader))
            return Read(b"".join(pieces), "whole", bytes(buf)), pieces
    return Read(b"".join(pieces), "", bytes(buf)), pieces


@pytest.mark.parametrize("body", [*SOUND.values(), *MALFORMED.values()], ids=[*SOUND, *MALFORMED])
def test_it_reads_what_h11_reads_wherever_the_reads_are_cut(body: bytes) -> None:
    chance = random.Random(body)
    cuts = [[place] for place in range(len(body))]
    cuts += [sorted(chance.choices(range(len(body)), k=chance.randrange(2, 12))) for _ in range(200)]
    cuts.append(list(range(1, len(body))))
    for places in cuts:
        reads = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
        expected = read(ChunkedReader(), reads)[0]
        assert read(BulkReader(), reads)[0] == expected, places
        assert read(BulkReader(), reads, passes_on=True)[0] == expected, places


def test_the_chunks_of_one_read_are_one_piece() -> None:
    chunk = b"4\r\nabcd\r\n"
    reads = [chunk * 100, chunk, chunk * 3 + b"4\r\nab", b"cd\r\n" + chunk + b"0\r\n\r\n"]
    assert read(BulkReader(), reads)[1] == [b"abcd" * 100, b"abcd", b"abcd" * 3 + b"ab", b"cd" + b"abcd"]


def test_only_whole_chunks_are_read_by_themselves() -> None:
    chunk = b"4\r\nabcd\r\n"
    cases = {chunk: b"abcd", chunk * 2: b"abcdabcd", chunk[:-1]: None, chunk + b"0\r\n\r\n": None, b"0\r\n\r\n": None}
    assert {received: BulkReader().whole_chunks(received) for received in cases} == cases


def test_what_came_before_a_fault_is_passed_on() -> None:
    found, pieces = read(BulkReader(), [MALFORMED["no number"]])
    assert pieces == [b"abcdef"]
    assert "illegal chunk header" in found.end
