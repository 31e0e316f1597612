"""A request with its pictures taken out: requests that are alike in everything else are candidates for each other."""

from __future__ import annotations

from computer_use_cache.formats import placeholder
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.screens.picture import LONG, Picture, map_pictures, picture_of


def blanked(format: Format, body: Json) -> tuple[Json, tuple[str, ...]]:
    """`body` with `<picture 1024x768>` for the data of each picture, and the digests of these in their order.

    Icons of a few hundred bytes stay, and so do links and what is not a picture.
    """
    found: list[Picture] = []
    without = map_pictures(format, body, lambda text: _blanked(text, found))
    return without, tuple(picture.digest for picture in found)


def pictures_in(format: Format, body: Json) -> list[Picture]:
    """The pictures that `blanked` takes out, in their order."""
    found: list[Picture] = []
    map_pictures(format, body, lambda text: _blanked(text, found))
    return found


def digests_at(format: Format, recorded: Json) -> list[str]:
    """The digests of the pictures in a recorded body, which names them so, in their order."""
    found: list[str] = []

    def noted(text: str) -> str:
        if digest := placeholder.digest_in(text):
            found.append(digest)
        return text

    map_pictures(format, recorded, noted)
    return found


def _blanked(text: str, found: list[Picture]) -> str:
    if len(text) < LONG:
        return text
    picture = picture_of(text)
    if picture.size is None or not picture.is_base64:
        return text
    found.append(picture)
    width, height = picture.size
    return f"{picture.before}<picture {width}x{height}>"
