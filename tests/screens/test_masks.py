"""The syntax of CACHE_IMAGE_MASK, and the parts of a picture that it hides."""

from __future__ import annotations

import re

import pytest

from computer_use_cache.errors import SettingError
from computer_use_cache.screens.masks import Box, hidden, masks
from computer_use_cache.settings import Settings

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

SCREEN = (1024, 768)


@pytest.mark.parametrize(
    ("text", "size", "boxes"),
    [
        ("1024x768:895,737,1024,768", SCREEN, [(895, 737, 1024, 768)]),
        ("1024x768:895,737,1024,768", (1024, 769), []),
        ("1024x768:895,737,1024,768; *:top 34", SCREEN, [(895, 737, 1024, 768), (0, 0, 1024, 34)]),
        (" 1024x768 : 1, 2, 3, 4 ;; ", SCREEN, [(1, 2, 3, 4)]),
        ("1024x768:bottom 10", SCREEN, [(0, 758, 1024, 768)]),
        ("1024x768:left 9", SCREEN, [(0, 0, 9, 768)]),
        ("1024x768:right 9", SCREEN, [(1015, 0, 1024, 768)]),
        ("1024x768:0,0,1024,768!", SCREEN, [(0, 0, 1024, 768)]),
        ("1024x768 scaled:100,100,110,110", SCREEN, [(92, 92, 118, 118)]),
        ("1024x768 scaled:0,0,10,10", SCREEN, [(0, 0, 18, 18)]),
        ("*:1000,700,1040,720", SCREEN, [(1000, 700, 1024, 720)]),
        ("*:2000,700,2040,720", SCREEN, []),
        ("*:top 34", (200, 100), []),
        ("*:top 34!", (200, 100), [(0, 0, 200, 34)]),
        ("", SCREEN, []),
    ],
)
def test_what_is_hidden_of_a_picture(text: str, size: tuple[int, int], boxes: list[tuple[int, ...]]) -> None:
    assert list(hidden(masks(text), size, is_lossy=False).boxes) == boxes


def test_rectangles_are_wider_where_a_change_spreads() -> None:
    found = hidden(masks("1024x768:100,100,110,110"), SCREEN, is_lossy=True)
    assert found.boxes == (Box(92, 92, 118, 118),)
    assert found.is_padded
    assert not hidden(masks("1024x768:100,100,110,110"), SCREEN, is_lossy=False).is_padded


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("895,737,1024,768", "such as 1024x768:895,737,1024,768; *:top 34, and not '895,737,1024,768'"),
        ("1024x768:1,2,3", "and not '1024x768:1,2,3'"),
        ("1024x768:middle 3", "and not '1024x768:middle 3'"),
        ("1024x768:3,2,1,4", "left before right"),
        ("1024x768:top 0", "left before right"),
        ("1024x768:895,737,1025,768", "inside their pictures"),
        ("1024x768:top 800!", "inside their pictures"),
        ("1024x768:0,0,400,300", "at most 2% of a picture, and not 15.3% of 1024x768"),
        ("1024x768:0,0,100,100; 1024x768:200,0,300,100", "at most 2% of a picture, and not 2.5%"),
        ("1024x768:top 34", "a ! after each"),
    ],
)
def test_a_bad_mask_stops_the_start_and_says_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=re.escape(told)) as found:
        Settings.load({"CACHE_IMAGE_MASK": text})
    assert str(found.value).startswith(f"CACHE_IMAGE_MASK (option cache_image_mask): {text!r} is not allowed; give ")
