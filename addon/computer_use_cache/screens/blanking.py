"""A request with its pictures taken out: requests that are alike in everything else are candidates for each other."""

from __future__ import annotations

from typing import Any

from computer_use_cache.formats import places
from computer_use_cache.formats.places import Tree
from computer_use_cache.screens.picture import LONG, picture_of


def blanked(body: Any, image_places: Tree) -> tuple[Any, tuple[str, ...]]:
    """`body` with `<picture 1024x768>` for the data of each picture, and the digests of these in their order.

    Icons of a few hundred bytes stay, and so do links and what is not a picture.
    """
    digests: list[str] = []

    def blank(text: str) -> str:
        if len(text) < LONG:
            return text
        picture = picture_of(text)
        if picture.size is None or not picture.is_base64:
            return text
        digests.append(picture.digest)
        width, height = picture.size
        return f"{picture.before}<picture {width}x{height}>"

    return places.changed(body, image_places, blank), tuple(digests)
