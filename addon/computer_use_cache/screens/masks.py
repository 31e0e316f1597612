"""CACHE_IMAGE_MASK: rectangles of the screen that a person named, whose pixels do not count.

Each is bound to the size of the pictures it is for. A rectangle that hides much of the picture needs a `!` after it, as
whatever happens inside it is not seen.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from computer_use_cache.screens.pixels import can_decode

PADDING = 8
"""Pixels by which a rectangle is widened where a change spreads: the side of JPEG's blocks."""
_MOST_SHARE = 0.02
"""A larger part of a picture needs a `!`."""
_MOST_SHARE_OF_ANY = 0.1
"""The same for `*`, whose share depends on each picture: a strip may cover all of a small one."""
_ITEM = re.compile(
    r"(?:\*|(?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5}))(?P<scaled>\s+scaled)?\s*:\s*"
    r"(?:(?P<edge>top|bottom|left|right)\s+(?P<depth>[0-9]{1,5})"
    r"|(?P<box>[0-9]{1,5}\s*,\s*[0-9]{1,5}\s*,\s*[0-9]{1,5}\s*,\s*[0-9]{1,5}))\s*(?P<forced>!)?"
)

type Size = tuple[int, int]


class Box(NamedTuple):
    """A rectangle of pixels; `right` and `bottom` are the first column and row outside it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)

    def __str__(self) -> str:
        return f"{self.left},{self.top}-{self.right},{self.bottom}"

    def grown(self, across: int, down: int) -> Box:
        """Wider by `across` pixels on both sides, and higher by `down`."""
        return Box(self.left - across, self.top - down, self.right + across, self.bottom + down)

    def within(self, size: Size) -> Box:
        """The part of it that lies inside a picture."""
        return Box(max(self.left, 0), max(self.top, 0), min(self.right, size[0]), min(self.bottom, size[1]))

    def joined(self, other: Box) -> Box:
        """The smallest rectangle around both."""
        upper_left = min(self.left, other.left), min(self.top, other.top)
        return Box(*upper_left, max(self.right, other.right), max(self.bottom, other.bottom))

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return not (
            self.right <= other.left or other.right <= self.left or self.bottom <= other.top or other.bottom <= self.top
        )


@dataclass(frozen=True, slots=True)
class Mask:
    """One rectangle: a `box`, or a strip of this `depth` at an `edge`; for pictures of one `size`, None for all.

    `is_scaled` says that pictures of this size were made smaller after they were taken, `is_forced` that it may hide
    much."""

    size: Size | None
    box: Box | None
    edge: str
    depth: int
    is_scaled: bool
    is_forced: bool

    def __str__(self) -> str:
        size = f"{self.size[0]}x{self.size[1]}" if self.size else "*"
        place = ",".join(map(str, self.box)) if self.box else f"{self.edge} {self.depth}"
        return f"{size}{' scaled' * self.is_scaled}:{place}{'!' * self.is_forced}"

    def box_in(self, size: Size) -> Box | None:
        """What it hides of a picture of this size; None if it is not for that one."""
        if self.size not in (None, size):
            return None
        box = (self.box or self._strip(size)).within(size)
        if self.size is None and not self.is_forced and box.area > _MOST_SHARE_OF_ANY * size[0] * size[1]:
            return None
        return box if box.area else None

    def _strip(self, size: Size) -> Box:
        width, height = size
        match self.edge:
            case "top":
                return Box(0, 0, width, self.depth)
            case "bottom":
                return Box(0, height - self.depth, width, height)
            case "left":
                return Box(0, 0, self.depth, height)
        return Box(width - self.depth, 0, width, height)


@dataclass(frozen=True, slots=True)
class Hidden:
    """What masks hide of one picture; `is_padded` if the rectangles are wider than they were named."""

    boxes: tuple[Box, ...]
    is_padded: bool


def hidden(masks: Iterable[Mask], size: Size, *, is_lossy: bool) -> Hidden:
    """What the masks hide of a picture of this size."""
    boxes, is_padded = [], False
    for mask in masks:
        if (box := mask.box_in(size)) is not None:
            is_wider = is_lossy or mask.is_scaled
            boxes.append(box.grown(PADDING, PADDING).within(size) if is_wider else box)
            is_padded = is_padded or is_wider
    return Hidden(tuple(boxes), is_padded)


def masks(text: str) -> tuple[Mask, ...]:
    """The masks of a setting. Raises ValueError, saying what is allowed."""
    found = tuple(_mask(item) for part in text.split(";") if (item := part.strip()))
    if found and not can_decode():
        raise ValueError("masks only where Pillow is installed (pip install '.[images]')")
    _check_shares(found)
    return found


def _mask(item: str) -> Mask:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(
            "rectangles (left, top, right, bottom) and strips with the size of their pictures, such as "
            f"1024x768:895,737,1024,768; *:top 34, and not {item!r}"
        )
    size = (int(match["width"]), int(match["height"])) if match["width"] else None
    box = Box(*map(int, match["box"].split(","))) if match["box"] else None
    mask = Mask(size, box, match["edge"] or "", int(match["depth"] or 0), bool(match["scaled"]), bool(match["forced"]))
    if (box and (box.left >= box.right or box.top >= box.bottom)) or (not box and not mask.depth):
        raise ValueError(f"rectangles with left before right and top before bottom, and not {item!r}")
    if size and (whole := box or mask._strip(size)) != whole.within(size):
        raise ValueError(f"rectangles that lie inside their pictures, and not {item!r}")
    return mask


def _check_shares(found: Iterable[Mask]) -> None:
    areas: dict[Size, int] = defaultdict(int)
    for mask in found:
        if mask.size and not mask.is_forced and (box := mask.box_in(mask.size)):
            areas[mask.size] += box.area
    for (width, height), area in areas.items():
        if area > _MOST_SHARE * width * height:
            raise ValueError(
                f"at most {_MOST_SHARE:.0%} of a picture, and not {area / width / height:.1%} of {width}x{height}, "
                "or a ! after each rectangle that may hide as much"
            )
