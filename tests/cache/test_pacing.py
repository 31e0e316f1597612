"""When the pieces of a replay are due; whatever the speed, joined they are the same answer."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from computer_use_cache.cache.pacing import schedule
from computer_use_cache.models import Entry, Shape
from computer_use_cache.setting_values import Floor, Speed

BODY = b"data: 1\n\ndata: 22222\n\n"
RECORDED = Entry("k", "f", Shape.SSE, "m", "", (), BODY, 0.0, None, 2.0, chunks=((9, 250), (0, 0), (13, 1750)))
PLAIN = replace(RECORDED, shape=Shape.JSON, chunks=())
FRAMES = [b"data: 1\n\n", b"data: 22222\n\n"]


@pytest.mark.parametrize("pieces", [[BODY], FRAMES])
def test_an_instant_replay_has_no_schedule(pieces: list[bytes]) -> None:
    assert schedule(Speed.INSTANT, Shape.SSE, pieces, RECORDED) == []


def test_a_recorded_stream_is_cut_and_timed_as_it_was() -> None:
    assert schedule(Speed.RECORDED, Shape.SSE, [BODY], RECORDED) == [(0.25, FRAMES[0]), (0.0, b""), (1.75, FRAMES[1])]


@pytest.mark.parametrize("entry", [PLAIN, RECORDED])
def test_a_reshaped_answer_takes_as_long_as_the_recorded_one(entry: Entry) -> None:
    assert schedule(Speed.RECORDED, Shape.SSE, FRAMES, entry) == [(1.0, FRAMES[0]), (1.0, FRAMES[1])]


def test_a_single_piece_without_recorded_chunks_takes_as_long_as_the_answer() -> None:
    assert schedule(Speed.RECORDED, Shape.SSE, [BODY], PLAIN) == [(2.0, BODY)]


def test_chunks_that_are_not_those_of_the_piece_are_not_used() -> None:
    assert schedule(Speed.RECORDED, Shape.SSE, [BODY + b"more"], RECORDED) == [(2.0, BODY + b"more")]


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, [1.0, 2.0]), (10.0, [0.1, 0.2]), (0.5, [2.0, 4.0])])
def test_a_piece_waits_for_its_tokens(speed: float, seconds: list[float]) -> None:
    assert schedule(speed, Shape.SSE, FRAMES, PLAIN) == list(zip(seconds, FRAMES, strict=True))


@pytest.mark.parametrize(
    ("speed", "due"),
    [
        pytest.param(Speed.INSTANT, [], id="instant"),
        pytest.param(Speed.RECORDED, [(2.0, b"{}")], id="as late as it was"),
        pytest.param(Floor(0.5), [(0.5, b"{}")], id="not before a least time"),
        pytest.param(10.0, [], id="tokens a second are for streams"),
    ],
)
def test_a_json_answer_comes_whole_when_it_is_due(speed: Speed | Floor | float, due: list[tuple[float, bytes]]) -> None:
    assert schedule(speed, Shape.JSON, [b"{}"], PLAIN) == due


def test_a_stream_waits_for_the_least_time_and_then_comes_whole() -> None:
    assert schedule(Floor(0.5), Shape.SSE, FRAMES, RECORDED) == [(0.5, BODY)]


@pytest.mark.parametrize("speed", [Speed.RECORDED, 3.0, Floor(1.0)])
@pytest.mark.parametrize("pieces", [[BODY], FRAMES, [b"[", b"]"]])
def test_the_pieces_stay_the_answer(speed: Speed | Floor | float, pieces: list[bytes]) -> None:
    due = schedule(speed, Shape.SSE, pieces, RECORDED)
    assert b"".join(piece for _, piece in due) == b"".join(pieces)
    assert all(wait >= 0 for wait, _ in due)
