"""What is remembered of a picture: only of the very same text, and not without bounds."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from computer_use_cache.screens import picture
from computer_use_cache.screens.picture import LONG, Picture, picture_of

TEXT = "".join(random.Random(7).choices("abcdefgh", k=64 * LONG))


def test_a_text_met_again_is_known() -> None:
    again = "".join(list(TEXT))
    assert again is not TEXT
    assert picture_of(TEXT) is picture_of(again)


def test_of_equal_texts_the_one_met_last_is_held() -> None:
    first = "data:image/png;base64," + "met twice " * LONG
    known = picture_of(first)
    again = first[:1] + first[1:]
    assert again is not first
    assert picture_of(again) is known
    assert known.text is again
    assert known.key_text is again, "there is nothing to leave out"


def test_texts_with_the_same_fingerprint_are_told_apart() -> None:
    """The fingerprint looks at every 1024th character, and not at the one that differs."""
    other = TEXT[:1500] + "X" + TEXT[1501:]
    for text in (TEXT, other, TEXT):
        assert picture_of(text).text == text
        assert picture_of(text).digest == Picture(text).digest


def test_what_is_remembered_takes_up_no_more_memory_than_its_length() -> None:
    text = "data:image/png;base64," + "written once " * LONG
    tracemalloc.start()
    try:
        known = picture_of(text)
        assert known.written == known.key_written == f'"{text}"'.encode()
        assert tracemalloc.get_traced_memory()[0] < 2 * len(text)
    finally:
        tracemalloc.stop()


def test_short_texts_are_not_remembered() -> None:
    assert picture_of("a" * (LONG - 1)) is not picture_of("a" * (LONG - 1))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known = picture._Known()
    monkeypatch.setattr(picture, "_MOST_BYTES", 8 * LONG)
    texts = [letter * LONG for letter in "abcdef"]
    first = [known.picture(text) for text in texts]
    assert known.picture(texts[-1]) is first[-1]
    assert known.picture(texts[0]) is not first[0]
    held = sum(len(kept.text) + len(kept.written) - len('""') for kept in known._pictures.values())
    assert held == known._bytes <= 8 * LONG


def test_a_picture_larger_than_the_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    known = picture._Known()
    monkeypatch.setattr(picture, "_MOST_BYTES", LONG)
    assert known.picture("a" * 2 * LONG).text == "a" * 2 * LONG
    assert known._bytes == len(known._pictures) == 0


@pytest.mark.parametrize(
    ("text", "is_base64"),
    [
        ("QUJD", True),
        ("QUJD-_==", True),
        ("QUJD===", False),
        ("QU JD", False),
        ("é", False),
        ("data:image/png;base64,QUJD", True),
    ],
)
def test_what_is_base64(text: str, is_base64: bool) -> None:
    assert Picture(text).is_base64 is is_base64
