"""Where two pictures differ: how many pixels, and in which rectangles."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from computer_use_cache.screens.masks import Box, Size
from computer_use_cache.screens.pixels import Decoded

if TYPE_CHECKING:
    from PIL.Image import Image

_ROWS_APART, _COLUMNS_APART = 8, 32
"""Differences closer to each other than this form one rectangle, as the digits of a clock do."""
_SHOWN = 3
_WHITE = [0, *[255] * 255]


@dataclass(frozen=True, slots=True)
class Difference:
    """How two pictures of one size differ: the number of pixels, and the boxes they lie in."""

    size: Size
    pixels: int
    boxes: tuple[Box, ...]

    @property
    def share(self) -> float:
        """The part of the picture that differs, 0 to 1."""
        return self.pixels / (self.size[0] * self.size[1])

    def __str__(self) -> str:
        shown = [str(box) for box in self.boxes[:_SHOWN]]
        if len(self.boxes) > _SHOWN:
            shown.append(f"{len(self.boxes) - _SHOWN} more")
        return f"{self.pixels:,} of {self.size[0] * self.size[1]:,} pixels differ in {' and '.join(shown)}"


def differing(one: Decoded, other: Decoded) -> Image:
    """A picture in grey that is white where two pictures of one shape differ, and black elsewhere."""
    from PIL import ImageChops  # noqa: PLC0415 (an extra)

    bands = ImageChops.difference(one.image.convert(_comparable(one)), other.image.convert(_comparable(other))).split()
    return functools.reduce(ImageChops.lighter, bands).point(_WHITE)


def _comparable(picture: Decoded) -> str:
    """The mode in which Pillow can subtract the pixels."""
    return "L" if picture.image.mode == "1" else picture.image.mode


def without(mask: Image, boxes: Iterable[Box]) -> Image:
    """`mask` (of `differing`) with nothing in these boxes."""
    rest = mask.copy()
    for box in boxes:
        rest.paste(0, (box.left, box.top, box.right, box.bottom))
    return rest


def box_of(mask: Image) -> Box | None:
    """The smallest rectangle around all that differs."""
    found = mask.getbbox()
    return Box(*found) if found else None


def described(mask: Image) -> Difference:
    """The difference that `mask` (of `differing`) shows."""
    return Difference(mask.size, mask.histogram()[255], tuple(_boxes(mask)))


def _boxes(mask: Image) -> Iterator[Box]:
    for top, bottom in runs(_used_rows(mask), _ROWS_APART):
        band = mask.crop((0, top, mask.width, bottom))
        for left, right in runs(used_columns(band), _COLUMNS_APART):
            found = band.crop((left, 0, right, band.height)).getbbox()
            assert found is not None, "each run has a pixel that differs"
            yield Box(left + found[0], top + found[1], left + found[2], top + found[3])


def _used_rows(mask: Image) -> list[int]:
    data, width = mask.tobytes(), mask.width
    return [row for row in range(mask.height) if data[row * width : (row + 1) * width].strip(b"\0")]


def used_columns(mask: Image) -> list[int]:
    """The columns in which anything is white."""
    from PIL.Image import Transpose  # noqa: PLC0415 (an extra)

    return _used_rows(mask.transpose(Transpose.TRANSPOSE))


def runs(numbers: Iterable[int], apart: int) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of each run of ascending numbers that are less than `apart` from each other."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = number
        elif number - last >= apart:
            yield first, last + 1
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last + 1
