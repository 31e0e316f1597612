"""A text is searched for credentials once, wherever it is repeated."""

from __future__ import annotations

import pytest

from computer_use_cache.cache.concealing import Finder
from computer_use_cache.credentials import detection
from credential_samples import token

LONG = "a line of prose that holds nothing\n" * 100


TEXTS = {
    "a short text": "nothing here either, and no longer than it has to be",
    "a long text": LONG,
    "a long text with a credential": LONG + token("aB3d"),
    "a picture": "data:image/png;base64," + "iVBORw0KGgo=" * 200,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_equal_text_is_searched_once(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    searched = []
    find = detection.find_in_text
    monkeypatch.setattr(detection, "find_in_text", lambda text: searched.append(text) or find(text))
    search = Finder().searching_for(())
    assert search(text) == search(text[:1] + text[1:])
    assert len(searched) == 1


def test_texts_that_differ_only_at_one_end_are_distinguished() -> None:
    search, data = Finder().searching_for(()), "iVBORw0KGgo=" * 200
    texts = [head + data + end for head in ("data:image/png;base64,", "") for end in ("", "\n" + token("aB3d"))]
    assert [bool(search(text)) for text in texts * 2] == [False, True] * 4
