"""However a stream is cut into chunks, the same is recorded; and never more than the limit."""

from __future__ import annotations

import pytest

from computer_use_cache.flights.stream_recorder import Recorder
from computer_use_cache.models import Skip

STREAM = b"event: a\r\ndata: {}\r\n\r\ndata: \xe2\x82\xac\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("split", range(len(STREAM) + 1))
def test_every_split_gives_the_same_body_and_pace(split: int) -> None:
    recorder = Recorder(len(STREAM), started=10.0)
    recorder.feed(STREAM[:split], 10.25)
    recorder.feed(STREAM[split:], 11.0)
    assert recorder.body == STREAM
    assert recorder.pace == ((split, 250), (len(STREAM) - split, 750))
    assert recorder.given_up is None


@pytest.mark.parametrize("gap", [0.0004, 0.0006, 0.001, 0.25])
def test_the_pace_adds_up_to_the_time_it_took(gap: float) -> None:
    recorder = Recorder(1000, started=10.0)
    for number in range(1000):
        recorder.feed(b"x", 10.0 + gap * (number + 1))
    assert sum(size for size, _ in recorder.pace) == 1000
    assert abs(sum(milliseconds for _, milliseconds in recorder.pace) - gap * 1_000_000) <= 1


def test_nothing_was_recorded_at_first() -> None:
    recorder = Recorder(10, started=0.0)
    assert (recorder.body, recorder.pace, recorder.chunks, recorder.given_up) == (b"", (), [], None)


@pytest.mark.parametrize("chunks", [[b"12345", b"6"], [b"123456"], [b"1", b"2345", b"6"]])
def test_what_is_over_the_limit_is_forgotten(chunks: list[bytes]) -> None:
    recorder = Recorder(5, started=0.0)
    for chunk in (*chunks, b"", b"7"):
        recorder.feed(chunk, 1.0)
    assert recorder.given_up is Skip.TOO_LARGE
    assert (recorder.body, recorder.pace) == (b"", ())


def test_what_fills_the_limit_is_kept() -> None:
    recorder = Recorder(5, started=0.0)
    recorder.feed(b"123", 1.0)
    recorder.feed(b"45", 1.0)
    assert recorder.body == b"12345"
    assert recorder.given_up is None


def test_giving_up_forgets_what_was_recorded_and_what_comes() -> None:
    recorder = Recorder(100, started=0.0)
    recorder.feed(b"1", 1.0)
    recorder.give_up(Skip.CODING)
    recorder.feed(b"2", 2.0)
    assert recorder.given_up is Skip.CODING
    assert (recorder.body, recorder.pace, recorder.chunks) == (b"", (), [])
