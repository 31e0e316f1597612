"""Two texts beside each other, with the differing words marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computer_use_cache.report.marks import marked
from computer_use_cache.report.views import Mark, Piece


def told(pieces: tuple[Piece, ...]) -> str:
    """The pieces as one text, with what differs in brackets and what is left out as three dots."""
    written = {Mark.SAME: "{}", Mark.DIFFERENT: "[{}]", Mark.LEFT_OUT: "..."}
    return "".join(written[piece.mark].format(piece.text) for piece in pieces)


@pytest.mark.parametrize(
    ("left", "right", "shown"),
    [
        ("It is 9:41.", "It is 9:42.", ("It is 9:[41].", "It is 9:[42].")),
        ("Buy milk", "Buy oat milk", ("Buy milk", "Buy [oat ]milk")),
        ("the cat", "a cat", ("[the] cat", "[a] cat")),
        ("", "new", ("", "[new]")),
        ("same", "same", ("same", "same")),
        ("a b c d e", "a x c y e", ("a [b] c [d] e", "a [x] c [y] e")),
        ("word " * 200 + "end one", "word " * 200 + "end two", ("...", "...")),
    ],
)
def test_the_words_that_differ_are_marked(left: str, right: str, shown: tuple[str, str]) -> None:
    sides = tuple(map(told, marked(left, right)))
    if shown == ("...", "..."):
        assert sides[0].startswith("... word ")
        assert sides[0].endswith("end [one]")
        assert len(sides[1]) < 200
    else:
        assert sides == shown


def test_long_texts_are_compared_in_a_bounded_time() -> None:
    left, right = (" ".join(f"{word}{at}" for at in range(20_000)) for word in ("a", "b"))
    pieces = marked(f"Same beginning. {left} Same end.", f"Same beginning. {right} Same end.")[0]
    assert [piece.mark for piece in pieces] == [Mark.SAME, Mark.DIFFERENT, Mark.SAME]


@given(st.text(alphabet="ab \n", max_size=30), st.text(alphabet="ab \n", max_size=30))
def test_nothing_is_lost_or_added(left: str, right: str) -> None:
    for text, pieces in zip((left, right), marked(left, right), strict=True):
        assert "".join(piece.text for piece in pieces) == text
