"""Whether the pictures of two requests that are alike in everything else are the same, picture by picture.

Two pictures are the same if their data are equal, or their pixels are, or their pixels outside the masks; and if they
differ by one text cursor, provided that no text differs. Everything else is another question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from computer_use_cache.memory import BoundedMemory
from computer_use_cache.screens import differences
from computer_use_cache.screens.caret import is_caret
from computer_use_cache.screens.differences import Difference
from computer_use_cache.screens.masks import Mask, Size, hidden
from computer_use_cache.screens.picture import picture_of
from computer_use_cache.screens.pixels import COMPARABLE, Decoded, decode

MOST_PAIRS = 8192
"""How many pairs of pictures to remember: every later step of a conversation shows the same pairs again."""


class Rule(StrEnum):
    """What makes two pictures with different data count as the same; headers and statistics use these words."""

    PIXELS = "image-pixels"
    MASK = "image-mask"
    PADDED_MASK = "image-mask-padded"
    CARET = "image-caret"


INEXACT = frozenset((Rule.MASK, Rule.PADDED_MASK, Rule.CARET))
"""The rules by which pictures with different pixels count as the same."""


@dataclass(frozen=True, slots=True)
class Same:
    """Two pictures count as the same by these rules together, or by no rule if their data are equal."""

    rules: frozenset[Rule] = frozenset()


@dataclass(frozen=True, slots=True)
class OtherSize:
    """Two pictures of different sizes, or of different kinds of pixels."""

    recorded: Size
    present: Size

    def __str__(self) -> str:
        if self.recorded == self.present:
            return "the pixels of two pictures are of different kinds"
        (width, height), (now_width, now_height) = self.recorded, self.present
        return f"a picture of {now_width} x {now_height} pixels was {width} x {height}"


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Pictures that cannot be compared: one is not kept, or is not a picture that Pillow can decode."""

    def __str__(self) -> str:
        return "two pictures cannot be compared"


type Comparison = Same | Difference | OtherSize | Undecodable


@dataclass(frozen=True, slots=True)
class Approved:
    """All pictures are the same; for each rule, how many pictures needed it."""

    counts: Mapping[Rule, int]

    def __str__(self) -> str:
        return ", ".join(f"{rule} {count}" for rule, count in self.counts.items())


@dataclass(frozen=True, slots=True)
class Refused:
    """The request's picture number `at`, counted from 0, is another one."""

    at: int
    why: Difference | OtherSize | Undecodable | None
    """None if only a text cursor differs, but a text does, too, so that it may be a typed letter."""

    def __str__(self) -> str:
        return f"picture {self.at + 1}: {self.why or 'what looks like a text cursor may be a typed letter'}"


type Find = Callable[[str], str | None]
"""Returns the base64 of a picture by its digest, None if it is not kept."""


class Approval:
    """The rules of one proxy. Results of comparisons are remembered."""

    def __init__(self, masks: Sequence[Mask] = (), *, caret: bool = False) -> None:
        self.masks = tuple(masks)
        self._caret = caret
        self._known = BoundedMemory[tuple[str, str], Comparison](MOST_PAIRS)

    @property
    def has_rules(self) -> bool:
        """Whether pictures with other pixels may be the same."""
        return bool(self.masks) or self._caret

    def approve(
        self, recorded: Sequence[str], present: Sequence[str], find: Find, *, texts_equal: bool
    ) -> Approved | Refused:
        """Compare the pictures of two requests, given by their digests in the order of the request.

        `texts_equal` says that no text differs, what was typed included. Slow for pictures not met before: tens of
        milliseconds each.
        """
        counts: Counter[Rule] = Counter()
        for at, (one, other) in enumerate(zip(recorded, present, strict=True)):
            match self.compare(one, other, find):
                case Same(rules) if Rule.CARET in rules and not texts_equal:
                    return Refused(at, None)
                case Same(rules):
                    counts.update(rules)
                case why:
                    return Refused(at, why)
        return Approved({rule: counts[rule] for rule in Rule if counts[rule]})

    def compare(self, recorded: str, present: str, find: Find) -> Comparison:
        """How two pictures compare, given by their digests."""
        if recorded == present:
            return Same()
        pair = recorded, present
        known = self._known.get(pair)
        if known is not None:
            return known
        one, other = find(recorded), find(present)
        if one is None or other is None:
            return Undecodable()  # not remembered: it may be kept later
        found = compare(one, other, self.masks, caret=self._caret)
        self._known.put(pair, found)
        return found


def compare(recorded: str, present: str, masks: Sequence[Mask] = (), *, caret: bool = False) -> Comparison:
    """How two pictures in base64 compare. `caret`: whether they may differ by a text cursor."""
    if picture_of(recorded).key_text == picture_of(present).key_text:
        return Same()
    one, other = decode(recorded), decode(present)
    if one is None or other is None or one.image.mode not in COMPARABLE:
        return Undecodable()
    if one.shape != other.shape or one.image.mode != other.image.mode:
        return OtherSize(one.image.size, other.image.size)
    return _compare_pixels(one, other, masks, caret=caret)


def _compare_pixels(one: Decoded, other: Decoded, masks: Sequence[Mask], *, caret: bool) -> Same | Difference:
    if one.image.tobytes() == other.image.tobytes():
        return Same(frozenset({Rule.PIXELS}))
    differing = differences.differing(one, other)
    if differences.box_of(differing) is None:
        return Same(frozenset({Rule.PIXELS}))
    blanks = hidden(masks, one.image.size, is_lossy=one.is_lossy or other.is_lossy)
    rest = differences.without(differing, blanks.boxes)
    box = differences.box_of(rest)
    rules: set[Rule] = set()
    if box is None or rest.histogram() != differing.histogram():
        rules.add(Rule.PADDED_MASK if blanks.is_padded else Rule.MASK)
    if box is None:
        return Same(frozenset(rules))
    if caret and is_caret(one.image, other.image, box):
        return Same(frozenset({*rules, Rule.CARET}))
    return differences.described(rest)
