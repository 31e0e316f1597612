"""How a difference of two pictures is told: its size, its place and its share."""

from __future__ import annotations

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

from PIL import Image, ImageDraw

from computer_use_cache.screens.approval import compare
from computer_use_cache.screens.differences import Difference, runs
from computer_use_cache.screens.masks import Box, masks
from screenshots import coded, png, screen


def found(*boxes: tuple[int, int, int, int], mode: str = "RGB", setting: str = "") -> Difference:
    """The difference made by filling boxes (as Pillow has them, with their last row and column) on an empty picture."""
    plain = Image.new(mode, (100, 80), "white")
    changed = plain.copy()
    for box in boxes:
        ImageDraw.Draw(changed).rectangle(box, fill="black")
    difference = compare(coded(png(plain)), coded(png(changed)), masks(setting))
    assert isinstance(difference, Difference)
    return difference


def test_a_difference_says_how_many_pixels_and_where() -> None:
    difference = found((10, 20, 19, 24))
    assert difference == Difference((100, 80), 50, (Box(10, 20, 20, 25),))
    assert str(difference) == "50 of 8,000 pixels differ in 10,20-20,25"
    assert difference.share == 50 / 8000


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_pictures_of_any_mode_are_compared(mode: str) -> None:
    assert found((10, 20, 19, 24), mode=mode).boxes == (Box(10, 20, 20, 25),)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        pytest.param([(0, 0, 3, 3), (30, 0, 33, 3)], [Box(0, 0, 34, 4)], id="the digits of a clock are one"),
        pytest.param([(0, 0, 3, 3), (60, 0, 63, 3)], [Box(0, 0, 4, 4), Box(60, 0, 64, 4)], id="apart in a row"),
        pytest.param([(0, 0, 3, 3), (0, 40, 3, 43)], [Box(0, 0, 4, 4), Box(0, 40, 4, 44)], id="apart in a column"),
        pytest.param([(0, 0, 0, 0), (99, 79, 99, 79)], [Box(0, 0, 1, 1), Box(99, 79, 100, 80)], id="the corners"),
        pytest.param([(0, 0, 3, 9), (60, 5, 63, 6)], [Box(0, 0, 4, 10), Box(60, 5, 64, 7)], id="of different heights"),
    ],
)
def test_what_lies_apart_has_boxes_of_its_own(boxes: list[tuple[int, int, int, int]], expected: list[Box]) -> None:
    assert list(found(*boxes).boxes) == expected


def test_many_boxes_are_counted() -> None:
    difference = found(*((0, 16 * row, 1, 16 * row + 1) for row in range(5)))
    assert str(difference) == "20 of 8,000 pixels differ in 0,0-2,2 and 0,16-2,18 and 0,32-2,34 and 2 more"


def test_what_a_mask_hides_is_not_told() -> None:
    assert found((0, 0, 3, 3), (60, 0, 63, 3), setting="100x80:0,0,4,4").boxes == (Box(60, 0, 64, 4),)


def test_an_alpha_channel_counts() -> None:
    plain = Image.new("RGBA", (20, 20), (255, 255, 255, 255))
    clear = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    difference = compare(coded(png(plain)), coded(png(clear)))
    assert isinstance(difference, Difference)
    assert difference.pixels == 400


def test_runs_are_split_where_numbers_are_apart() -> None:
    assert list(runs([1, 2, 9, 10, 30], 8)) == [(1, 11), (30, 31)]
    assert list(runs([], 8)) == []


def test_two_screens_differ_where_they_were_drawn_differently() -> None:
    difference = compare(coded(png(screen())), coded(png(screen(price="9.80"))))
    assert isinstance(difference, Difference)
    assert all(box.top >= 140 for box in difference.boxes)
