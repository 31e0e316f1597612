"""Streams of events are read as the standard says, byte by byte, and what is written is read back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computer_use_cache.formats.sse import Reader, encode, parse
from computer_use_cache.models import Event

ONE = Event("", b"1")


STREAMS = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b"\n\n\n", [], id="blank lines"),
    pytest.param(b"data: 1\n\ndata: 2\n\n", [ONE, Event("", b"2")], id="LF"),
    pytest.param(b"data: 1\r\rdata: 2\r\r", [ONE, Event("", b"2")], id="CR"),
    pytest.param(b"data: 1\r\n\r\ndata: 2\r\n\r\n", [ONE, Event("", b"2")], id="CRLF"),
    pytest.param(b"data: 1\r\n\ndata: 2\n\rdata: 3\r\r\n", [ONE, Event("", b"2"), Event("", b"3")], id="mixed"),
    pytest.param(b"data: 1\r\ndata: 2\n\n", [Event("", b"1\n2")], id="CRLF is one line end"),
    pytest.param(b"\xef\xbb\xbfdata: 1\n\n", [ONE], id="BOM"),
    pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", [], id="second BOM is part of a name"),
    pytest.param(b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [ONE], id="BOM later is part of a name"),
    pytest.param(b": ping\n\n:\ndata: 1\n: x\n\n", [ONE], id="comments"),
    pytest.param(b"data: 1\ndata: 2\ndata:\ndata:3\n\n", [Event("", b"1\n2\n\n3")], id="lines of data"),
    pytest.param(
        "data: a\u2028b\u0085c\x0bd\x0c\n\n".encode(),
        [Event("", "a\u2028b\u0085c\x0bd\x0c".encode())],
        id="other line ends",
    ),
    pytest.param(b"data: 1\n", [ONE], id="no final blank line"),
    pytest.param(b"data: 1", [ONE], id="no final line end"),
    pytest.param(b"data: 1\n\nevent: x", [ONE], id="a last event without data"),
    pytest.param(b"event: a\ndata: 1\n\ndata: 2\n\n", [Event("a", b"1"), Event("", b"2")], id="names"),
    pytest.param(b"data: 1\nevent: a\nevent: b\n\n", [Event("b", b"1")], id="last name counts"),
    pytest.param(b"event: a\n\ndata: 1\n\n", [ONE], id="a name does not outlive its event"),
    pytest.param(b"event:  a\ndata:  1 \n\n", [Event(" a", b" 1 ")], id="one space goes"),
    pytest.param("event: \u00e9\ndata: 1\n\n".encode(), [Event("\u00e9", b"1")], id="name in UTF-8"),
    pytest.param(b"event: \xff\ndata: 1\n\n", [Event("\ufffd", b"1")], id="name not in UTF-8"),
    pytest.param(b"data: \xff\n\n", [Event("", b"\xff")], id="data not in UTF-8"),
    pytest.param(b"data\n\n", [Event("", b"")], id="data without colon"),
    pytest.param(b"data\ndata\n\n", [Event("", b"\n")], id="data without colon twice"),
    pytest.param(b"data:\n\n", [Event("", b"")], id="empty data"),
    pytest.param(b"data: a:b\n\n", [Event("", b"a:b")], id="colon in data"),
    pytest.param(b"id: 7\nretry: 10\ndata: 1\n\nid: 8\n\n", [ONE], id="id and retry"),
    pytest.param(b" data: 1\nDATA: 2\ndatax: 3\n\n", [], id="other fields"),
]


@pytest.mark.parametrize(("body", "events"), STREAMS)
def test_a_stream_is_read_as_the_standard_says(body: bytes, events: list[Event]) -> None:
    assert list(parse(body)) == events


@pytest.mark.parametrize(("body", "events"), STREAMS)
def test_a_stream_reads_the_same_wherever_it_is_cut(body: bytes, events: list[Event]) -> None:
    for cuts in [*([cut] for cut in range(len(body))), range(len(body))]:
        reader = Reader()
        pieces = [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]
        assert [*(event for piece in pieces for event in reader.feed(piece)), *reader.end()] == events


def test_an_event_is_given_as_soon_as_it_is_complete() -> None:
    reader = Reader()
    assert reader.feed(b"data: 1\n") == []
    assert reader.feed(b"\ndata: 2") == [ONE]
    assert reader.feed(b"\n\n") == [Event("", b"2")]


@pytest.mark.parametrize(
    ("event", "frame"),
    [
        (Event("", b"1"), b"data: 1\n\n"),
        (Event("a", b"1"), b"event: a\ndata: 1\n\n"),
        (Event("", b""), b"data: \n\n"),
        (Event("", b"1\n\n2"), b"data: 1\ndata: \ndata: 2\n\n"),
    ],
)
def test_an_event_is_written_as_one_frame(event: Event, frame: bytes) -> None:
    assert list(encode([event])) == [frame]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
DATA = st.binary().map(lambda data: data.replace(b"\r", b""))
EVENTS = st.lists(st.builds(Event, NAMES, DATA))


@given(EVENTS)
def test_what_is_written_is_read_back(events: list[Event]) -> None:
    assert list(parse(b"".join(encode(events)))) == events


@given(EVENTS, st.sampled_from([b"\r", b"\r\n"]))
def test_every_line_end_reads_the_same(events: list[Event], end: bytes) -> None:
    assert list(parse(b"".join(encode(events)).replace(b"\n", end))) == events
