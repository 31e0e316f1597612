"""A screenshot with rectangles drawn on it, to be looked at before a mask is set."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from computer_use_cache.screens.approval import Find, compare
from computer_use_cache.screens.differences import Difference
from computer_use_cache.screens.masks import Box, Mask, hidden
from computer_use_cache.screens.pixels import decode

_DIFFERS, _MASKED = "#e00000", "#0060e0"
_LINE = 2


def drawn_difference(recorded: str, present: str, find: Find, masks: Sequence[Mask] = ()) -> bytes | None:
    """The present picture of a pair, given by digests, as `drawn` draws it; None where the two cannot be compared."""
    one, other = find(recorded), find(present)
    if one is None or other is None:
        return None
    found = compare(one, other)
    return drawn(other, found.boxes if isinstance(found, Difference) else (), masks)


def drawn(data: str, boxes: Iterable[Box], masks: Iterable[Mask] = ()) -> bytes | None:
    """A PNG of the picture in base64 with red lines around what differs, and blue ones around what the masks hide.

    None where the picture cannot be decoded."""
    from PIL import ImageDraw  # noqa: PLC0415 (an extra)

    picture = decode(data)
    if picture is None:
        return None
    image = picture.image.convert("RGB")
    canvas = ImageDraw.Draw(image)
    masked = hidden(masks, image.size, is_lossy=picture.is_lossy).boxes
    for colour, rectangles in ((_MASKED, masked), (_DIFFERS, boxes)):
        for box in rectangles:
            around = box.grown(_LINE, _LINE)
            canvas.rectangle(
                (around.left, around.top, around.right - 1, around.bottom - 1), outline=colour, width=_LINE
            )
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
