"""Where two lists of items differ: texts with their words marked, pictures with their differing pixels boxed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import islice, zip_longest

from computer_use_cache.formats.base import Json
from computer_use_cache.formats.item import Item, Kind, as_json_text
from computer_use_cache.formats.media import Media
from computer_use_cache.report.album import Album
from computer_use_cache.report.marks import marked
from computer_use_cache.report.views import Change, Comparison, Form, Mark, Picture, Piece, Shape
from computer_use_cache.screens import differences
from computer_use_cache.screens.approval import Approval, Find, Same
from computer_use_cache.screens.masks import Box, Size
from computer_use_cache.screens.pixels import can_decode
from computer_use_cache.units import counted

_MOST_CHANGES = 12
_MOST_BOXES = 50

type Pair = tuple[Item | None, Item | None]


class Comparer:
    """Compares for one page. `screens` has the rules by which pictures are the same."""

    def __init__(self, album: Album, screens: Approval, find: Find) -> None:
        self._album = album
        self._screens = screens
        self._find = find

    def compared(
        self, title: str, names: tuple[str, str], pairs: Iterable[Pair], *, cure: str = ""
    ) -> Comparison | None:
        """How the sides of these names differ, pair by pair; None if they do not."""
        found = (change for pair in pairs if (change := self._change(pair)))
        shown = tuple(islice(found, _MOST_CHANGES))
        more = sum(1 for _ in found)
        return Comparison(title, *names, shown, more, cure) if shown else None

    def _change(self, pair: Pair) -> Change | None:
        match pair:
            case (Item(media=Media() as one), Item(media=Media() as other) as item):
                return self._pictures(one, other, _place(item))
            case (Item() as left, Item() as right):
                pieces = marked(_text(left), _text(right))
                return Change(_place(right), *pieces)
            case (left, right):
                [item] = [item for item in pair if item]
                sides = (self._whole(left), self._whole(right))
                return Change(_place(item), *sides, note="added" if left is None else "missing")

    def _whole(self, item: Item | None) -> tuple[Piece, ...] | Picture | None:
        if item is None:
            return None
        if item.media and item.media.is_picture:
            return self._album.picture(item.media, "Picture")
        pieces = marked(_text(item), "")[0]
        return tuple(replace(piece, mark=Mark.SAME) for piece in pieces)

    def _pictures(self, left: Media, right: Media, place: str) -> Change | None:
        note, boxes = "another picture", tuple[Shape, ...]()
        if can_decode():
            match self._screens.compare(left.digest, right.digest, self._find):
                case Same():
                    return None
                case differences.Difference() as found:
                    places = counted(len(found.boxes), "place", "places")
                    note = f"{found.share:.2%} of the pixels differ, in {places}"
                    boxes = tuple(_around(box, found.size) for box in found.boxes[:_MOST_BOXES])
                case other:
                    note = str(other)
        one, other_one = (self._album.picture(media, "Picture", shapes=boxes) for media in (left, right))
        return Change(place, one, other_one, note)


def pairs(left: Sequence[Item], right: Sequence[Item]) -> Iterator[Pair]:
    """The items in which two lists differ, side by side."""
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            yield from zip_longest(left[a:b], right[c:d])


def settings(body: Json, hidden: Iterable[str]) -> dict[str, Item]:
    """The members of a request outside its conversation, as items by their names."""
    return {name: Item(name, Kind.OTHER, as_json_text(value, 2)) for name, value in body.items() if name not in hidden}


def setting_pairs(left: dict[str, Item], right: dict[str, Item]) -> Iterator[Pair]:
    """The members in which two requests differ."""
    for name in left | right:
        if left.get(name) != right.get(name):
            yield left.get(name), right.get(name)


def _around(box: Box, size: Size) -> Shape:
    """A frame with some room, so that it does not hide what differs."""
    room = max(size) / 160
    return Shape(Form.BOX, ((box.left - room, box.top - room), (box.right + room, box.bottom + room)))


def _text(item: Item) -> str:
    return f"{item.name}\n{item.text}" if item.name else item.text


def _place(item: Item) -> str:
    number = "" if item.turn is None else f"[{item.turn}] "
    return f"{number}{item.role}" + (f" · {item.kind}" if item.kind is not Kind.OTHER else "")
