"""AWS event streams: what is written is read back, and no damage goes unseen."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.aws_events import Message, encode, parse
from computer_use_cache.models import Skip

NAMES = st.text(min_size=1, max_size=40)
MESSAGES = st.builds(Message, st.dictionaries(NAMES, st.text(max_size=80), max_size=4), st.binary(max_size=200))
HELLO = Message({":event-type": "chunk", ":message-type": "event"}, b'{"bytes":"aGVsbG8="}')


@given(st.lists(MESSAGES, max_size=4))
def test_what_is_written_is_read_back(messages: list[Message]) -> None:
    assert list(parse(b"".join(map(encode, messages)))) == messages


def test_the_bytes_are_those_of_the_specification() -> None:
    """The example of a message without headers and payload that AWS's SDKs are tested with."""
    assert encode(Message({}, b"")).hex() == "000000100000000005c248eb7d98c8ff"


@pytest.mark.parametrize("at", range(len(encode(HELLO))))
def test_a_changed_byte_is_refused(at: int) -> None:
    frame = bytearray(encode(HELLO))
    frame[at] ^= 1
    with pytest.raises(FormatError):
        list(parse(bytes(frame) + encode(HELLO)))


@pytest.mark.parametrize("length", range(1, len(encode(HELLO))))
def test_a_frame_that_was_cut_is_unfinished(length: int) -> None:
    messages = parse(encode(HELLO) + encode(HELLO)[:length])
    assert next(messages) == HELLO
    with pytest.raises(FormatError) as error:
        next(messages)
    assert error.value.reason is Skip.UNFINISHED


def test_headers_that_are_not_strings_are_skipped() -> None:
    others = [b"\x00", b"\x01", b"\x02x", b"\x03xx", b"\x04xxxx", b"\x05" + b"x" * 8, b"\x06\x00\x02xx"]
    others += [b"\x08" + b"x" * 8, b"\x09" + b"x" * 16]
    headers = b"".join(b"\x01a" + header for header in others) + b"\x01b\x07\x00\x03yes"
    assert list(parse(framed(headers))) == [Message({"b": "yes"}, b"")]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"\x01a\x0a", id="unknown type"),
        pytest.param(b"\x01a\x07\x00\x09x", id="value longer than the headers"),
        pytest.param(b"\x09a", id="name longer than the headers"),
        pytest.param(b"\x01a\x07\x00\x01\xff", id="not UTF-8"),
    ],
)
def test_malformed_headers_are_refused(headers: bytes) -> None:
    with pytest.raises(FormatError):
        list(parse(framed(headers)))


def framed(headers: bytes) -> bytes:
    lengths = struct.pack(">II", 16 + len(headers), len(headers))
    frame = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers
    return frame + struct.pack(">I", zlib.crc32(frame))
