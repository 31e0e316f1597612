"""The pictures of a page: each is in it once, however often it is shown."""

from __future__ import annotations

import base64

from computer_use_cache.formats.actions import Action, Size
from computer_use_cache.formats.media import Media, pixel_size
from computer_use_cache.report import drawing
from computer_use_cache.report.views import Picture, Shape
from computer_use_cache.screens.approval import Find
from computer_use_cache.screens.picture import Picture as ScreenPicture

_HEADS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
"""The first bytes of the files that a page shows. The type that a request states is not trusted."""
_HEAD_CHARS = 16


class Album:
    """Finds pictures by their digests and keeps those that are shown, as (type, base64), unless the page is to have
    none."""

    def __init__(self, find: Find, *, with_media: bool) -> None:
        self.media: dict[str, tuple[str, str]] = {}
        self._find = find
        self._with_media = with_media
        self._sizes: dict[str, Size | None] = {}

    def picture(self, media: Media, alt: str, *, shapes: tuple[Shape, ...] = (), keys: str = "") -> Picture:
        """A picture as it is shown, described by `alt` and its size."""
        digest, size = self._kept(media)
        width, height = size or (0, 0)
        description = f"{alt}, {width} x {height} pixels" if size else alt
        if not digest:
            description += f" {media}" if media.url else ", not in this page"
        return Picture(digest, width, height, description, shapes, keys)

    def screen(self, media: Media, alt: str, actions: tuple[Action, ...], screen: Size | None) -> Picture:
        """A picture with what was done on it."""
        _, size = self._kept(media)
        shapes = drawing.shapes(actions, size, screen) if size else ()
        return self.picture(media, alt, shapes=shapes, keys=drawing.keys(actions))

    def _kept(self, media: Media) -> tuple[str, Size | None]:
        """The digest under which the page has this picture ("" if the page has not got it), and the picture's size."""
        digest = media.digest
        if digest and digest not in self._sizes:
            self._sizes[digest] = self._keep(digest, media.data)
        return digest if digest in self.media else "", self._sizes.get(digest)

    def _keep(self, digest: str, data: str) -> Size | None:
        found = ScreenPicture(data if not data.startswith("<") else self._find(digest) or "")
        size = pixel_size(found.data)
        if size and found.is_base64 and self._with_media:
            plain = found.data.translate({ord("-"): "+", ord("_"): "/"})
            self.media[digest] = _type(plain), plain
        return size


def _type(data: str) -> str:
    """The type of a file that `pixel_size` can read."""
    head = base64.b64decode(data[:_HEAD_CHARS])
    return next(type for begin, type in _HEADS.items() if head.startswith(begin))
