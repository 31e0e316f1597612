"""The CACHE_IMAGE_MASK that would have turned misses into hits: made here, and left to a person to set.

A rectangle is drawn around what differs and grown along its line of text, as the clock that showed 9:41 will show
12:58. It is verified: the pictures are compared again with it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from computer_use_cache.memory import BoundedMemory
from computer_use_cache.screens import differences
from computer_use_cache.screens.approval import MOST_PAIRS, Comparison, Find, Rule, Same, Undecodable, compare
from computer_use_cache.screens.caret import is_bar
from computer_use_cache.screens.differences import Difference
from computer_use_cache.screens.masks import Box, Size, masks
from computer_use_cache.screens.pixels import Decoded, decode
from computer_use_cache.units import counted

if TYPE_CHECKING:
    from PIL.Image import Image

_HIGHEST_LINE = 40
"""Anything higher is not a line of text."""
_LONGEST_LINE = 20
"""How far a line reaches to either side of what differs, in times its height."""
_LEAST_GAP = 8
"""Columns without ink that end a line of small text."""
_FAINT = 32
"""A smaller difference from the background is JPEG noise."""
_MOST_BOXES = 4
_MOST_SHARE = 0.1
"""Pictures that differ in more than this, or in more places, show something else."""

type Pair = tuple[str, str]
"""The digests of a recorded and of a present picture."""

_comparisons = BoundedMemory[tuple[Pair, str, bool], Comparison](MOST_PAIRS)
_known_lines = BoundedMemory[Pair, tuple[Difference, Sequence[Box]]](MOST_PAIRS)


@dataclass(frozen=True, slots=True)
class PictureMiss:
    """A miss of a `run` that would have been a hit with other pictures: those that differ, in their order."""

    run: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """Misses that have their first differing picture in common, which the later ones only show again."""

    misses: tuple[PictureMiss, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pictures that differ, each pair once."""
        return tuple(dict.fromkeys(pair for miss in self.misses for pair in miss.pairs))

    def __str__(self) -> str:
        pictures, following = len(self.pairs), len(self.misses) - 1
        text = counted(pictures, "picture differs", "pictures differ")
        if not following:
            return text
        first = "it" if pictures == 1 else "the first"
        return f"{text}, {counted(following, 'miss follows', 'misses follow')} from {first}"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings with which `misses` would have been hits: `mask`, a value for CACHE_IMAGE_MASK ("" if the present one
    will do), and `image-caret` if `caret`. `difference` is the largest they make equal, `boxes` are new rectangles."""

    mask: str
    caret: bool
    difference: Difference
    boxes: tuple[Box, ...]
    misses: tuple[PictureMiss, ...]

    @property
    def settings(self) -> dict[str, str]:
        """The texts of the settings, by variable."""
        texts = {"CACHE_IMAGE_MASK": self.mask, "CACHE_NORMALIZE": str(Rule.CARET) if self.caret else ""}
        return {variable: text for variable, text in texts.items() if text}

    def __str__(self) -> str:
        runs = len({miss.run for miss in self.misses})
        return f"{self.difference}, in {counted(len(self.misses), 'miss', 'misses')} of {counted(runs, 'run', 'runs')}"


def causes(misses: Iterable[PictureMiss]) -> list[Cause]:
    """Misses grouped by their first differing picture; the largest group first."""
    groups: dict[Pair, list[PictureMiss]] = {}
    for miss in misses:
        groups.setdefault(miss.pairs[0], []).append(miss)
    return sorted((Cause(tuple(group)) for group in groups.values()), key=lambda cause: -len(cause.misses))


def suggest(misses: Sequence[PictureMiss], find: Find, setting: str = "") -> Suggestion | None:
    """What to add to `setting`, the present CACHE_IMAGE_MASK; None if no rectangles would make hits.

    Slow: pictures that are new are decoded.
    """
    pairs = tuple(dict.fromkeys(pair for miss in misses for pair in miss.pairs))
    differing: dict[Pair, Difference] = {}
    for pair in pairs:
        found = _compared(pair, find, setting, caret=False)
        if isinstance(found, Difference) and _are_few(found.boxes, found.size):
            differing[pair] = found
    added = tuple(_rectangles(differing, find))
    mask = _setting(setting, added) if added else ""
    same = {pair: _compared(pair, find, mask or setting, caret=True) for pair in pairs}
    rules = {pair: found.rules for pair, found in same.items() if isinstance(found, Same)}
    helped = [miss for miss in misses if rules.keys() >= set(miss.pairs) and differing.keys() & set(miss.pairs)]
    if not helped:
        return None
    cured = {pair for miss in helped for pair in miss.pairs}
    return Suggestion(
        mask=mask,
        caret=any(Rule.CARET in rules[pair] for pair in cured),
        difference=max((differing[pair] for pair in cured & differing.keys()), key=lambda found: found.pixels),
        boxes=tuple(box for _, box in added),
        misses=tuple(helped),
    )


def _compared(pair: Pair, find: Find, setting: str, *, caret: bool) -> Comparison:
    if known := _comparisons.get((pair, setting, caret)):
        return known
    one, other = find(pair[0]), find(pair[1])
    if one is None or other is None:
        return Undecodable()
    found = compare(one, other, masks(setting), caret=caret)
    _comparisons.put((pair, setting, caret), found)
    return found


def _rectangles(differing: Mapping[Pair, Difference], find: Find) -> Iterator[tuple[Size, Box]]:
    """The rectangles to hide, with the size of their pictures.

    Where several pairs differ in one place, what differs once only is taken for a change that matters.
    """
    for size in dict.fromkeys(difference.size for difference in differing.values()):
        found: list[tuple[Box, int]] = []
        for pair, difference in differing.items():
            if difference.size == size:
                for box in _lines(pair, difference, find):
                    found = _with(found, box)
        recurring = [box for box, times in found if times > 1] or [box for box, _ in found]
        if _are_few(recurring, size):
            yield from ((size, box) for box in recurring)


def _are_few(boxes: Sequence[Box], size: Size) -> bool:
    return len(boxes) <= _MOST_BOXES and sum(box.area for box in boxes) <= _MOST_SHARE * size[0] * size[1]


def _lines(pair: Pair, difference: Difference, find: Find) -> Sequence[Box]:
    """The lines of text and other areas in which two pictures differ, text cursors aside."""
    if (known := _known_lines.get(pair)) and known[0] == difference:
        return known[1]
    pictures = [decode(find(digest) or "") for digest in pair]
    lines: list[tuple[Box, int]] = []
    for box in difference.boxes:
        if not is_bar(box):
            around = [grown(box, picture) for picture in pictures if picture]
            lines = _with(lines, functools.reduce(Box.joined, around, box))
    found = [line for line, _ in lines]
    _known_lines.put(pair, (difference, found))
    return found


def _setting(setting: str, added: Iterable[tuple[Size, Box]]) -> str:
    """`setting` with rectangles added; each has a `!` if together they hide much."""
    items = [f"{width}x{height}:{','.join(map(str, box))}" for (width, height), box in added]
    before = [setting] if setting.strip() else []
    try:
        masks(plain := "; ".join([*before, *items]))
    except ValueError:
        return "; ".join([*before, *(f"{item}!" for item in items)])
    return plain


def _with(counted: Sequence[tuple[Box, int]], box: Box, times: int = 1) -> list[tuple[Box, int]]:
    """Boxes, each with how many were joined in it, and another one; those that overlap become one."""
    apart = []
    for other, number in counted:
        if box.meets(other):
            box, times = box.joined(other), times + number
        else:
            apart.append((other, number))
    return [*apart, (box, times)] if len(apart) == len(counted) else _with(apart, box, times)


def grown(box: Box, picture: Decoded) -> Box:
    """A box grown to the whole of the line of text in which it lies, and a little more: digits differ in width."""
    size, height = picture.image.size, box.bottom - box.top
    if height > _HIGHEST_LINE:
        return box.grown(1, 1).within(size)
    reach = _LONGEST_LINE * height
    area = box.grown(reach, 0).within(size)
    left, right = box.left - area.left, box.right - area.left
    for first, end in differences.runs(
        differences.used_columns(_ink(picture.image.crop(area))), max(height, _LEAST_GAP)
    ):
        if first < right and end > left:
            left, right = min(left, first), max(right, end)
    line = Box(area.left + left, box.top, area.left + right, box.bottom)
    return line.grown(height + 1, height // 4 + 2).within(size)


def _ink(band: Image) -> Image:
    """White where a band of a picture differs from its background: the commonest red, green and blue."""
    from PIL import Image, ImageChops  # noqa: PLC0415 (an extra)

    plain = band.convert("RGB")
    counts = [channel.histogram() for channel in plain.split()]
    background = Image.new("RGB", plain.size, tuple(count.index(max(count)) for count in counts))
    bands = ImageChops.difference(plain, background).split()
    return functools.reduce(ImageChops.lighter, bands).point([0] * _FAINT + [255] * (256 - _FAINT))
