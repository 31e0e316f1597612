"""A text cursor that blinks: the one change of a picture that is recognised by its looks.

A typed l, | or I can look the same, so this proves nothing while a text of the two requests differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computer_use_cache.screens.masks import Box

if TYPE_CHECKING:
    from PIL.Image import Image

_WIDEST = 2
_LOWEST, _HIGHEST = 12, 30


def is_bar(box: Box) -> bool:
    """Whether a box has the shape of a text cursor."""
    return box.right - box.left <= _WIDEST and _LOWEST <= box.bottom - box.top <= _HIGHEST


def is_caret(one: Image, other: Image, box: Box) -> bool:
    """Whether two pictures that differ in this box only differ by a bar on a background of one colour.

    The bar and what is in its place in the other picture are of one colour each; and the columns left and right of it
    have the background's colour, unlike those beside the end of a progress bar.
    """
    left, top, right, bottom = box
    if not is_bar(box) or left == 0 or right == one.width:
        return False
    inside = {_only_colour(picture, box) for picture in (one, other)}
    beside = {
        _only_colour(one, Box(left - 1, top, left, bottom)),
        _only_colour(one, Box(right, top, right + 1, bottom)),
    }
    return None not in inside and len(beside) == 1 and beside < inside


def _only_colour(picture: Image, box: Box) -> object:
    """The colour of all the pixels in a box; None if they have several."""
    colours = picture.crop(box).getcolors(1)
    return colours[0][1] if colours else None
