"""What is known about a picture in a request, found out once: a conversation repeats its screenshots in every step.

A picture met before is recognised by a few of its characters, and then compared as a whole, which takes a tenth of the
time of a digest. The pictures met last are kept, as text and as JSON, in at most 128 MiB.
"""

from __future__ import annotations

import hashlib
import itertools
import string
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property

import orjson

from computer_use_cache.formats import data_url, media, walking
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.memory import trimmed
from computer_use_cache.screens import metadata, pixels
from computer_use_cache.screens.base64_text import Base64Text, encoded

LONG = 1024
"""No screenshot has fewer characters; shorter texts are not worth remembering."""
_MOST_BYTES = 128 * 2**20
_SAMPLES = 64
_PNG_HEAD = 128
"""Characters in which a PNG tells its size; other files are searched for it, which takes milliseconds."""
_ALPHABET = (string.ascii_letters + string.digits + "+/_-").encode()


class Picture:
    """The text of a picture: base64, alone or in a data URL. For any other text, all answers are negative.

    `number` identifies a remembered picture. No other text ever has it in this process.
    """

    def __init__(self, text: str, number: int | None = None) -> None:
        self.text = text
        self.number = number
        self.before = data_url.base64_head(text)
        self.key_text = self._without_metadata()

    def is_now(self, text: str) -> None:
        """Hold this equal text instead. Its request is compared with it several times, and comparing a text with itself
        takes no time."""
        if self.key_text is self.text:
            self.key_text = text
        self.text = text

    @property
    def data(self) -> str:
        """The base64 alone."""
        return self.text[len(self.before) :]

    @cached_property
    def is_base64(self) -> bool:
        """Whether every character of the data is one of base64's."""
        plain = self.data.removesuffix("=").removesuffix("=")
        return plain.isascii() and not plain.encode().translate(None, _ALPHABET)

    @cached_property
    def written(self) -> bytes:
        """The text as JSON, in quotes; b"" if it is not valid Unicode."""
        return _json(self.text)

    @cached_property
    def key_written(self) -> bytes:
        """The text that enters a key, likewise."""
        return self.written if self.key_text is self.text else _json(self.key_text)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the base64, in hex: the name by which stores keep it."""
        return hashlib.sha256(self.data.encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Width and height, read from the file's head; None if it is not a picture."""
        data = self.data
        return media.pixel_size(data[:_PNG_HEAD]) or media.pixel_size(data)

    @cached_property
    def pixels(self) -> str:
        """What names the pixels, "" where they cannot be compared. Slow the first time: tens of milliseconds."""
        return pixels.name(self.data)

    def _without_metadata(self) -> str:
        """The text that enters a key; `text` itself if there is nothing to leave out."""
        file = Base64Text(self.data)
        if not (parts := metadata.cuts(file)):
            return self.text
        try:
            return self.before + encoded(metadata.without(file.decoded(), parts))
        except ValueError:
            return self.text


class _Known:
    """The pictures met last, by a fingerprint."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[tuple[int, str], Picture] = OrderedDict()
        self._bytes = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def picture(self, text: str) -> Picture:
        fingerprint = len(text), text[:: len(text) // _SAMPLES]
        known = self._get(fingerprint)
        if known is not None and known.text == text:
            known.is_now(text)
            return known
        picture = Picture(text, next(self._numbers))
        with self._lock:
            self._forget(fingerprint)
            self._pictures[fingerprint] = picture
            self._bytes += _weight(picture)
            while self._bytes > _MOST_BYTES:
                self._forget(next(iter(self._pictures)))
        return picture

    def written_in(self, body: bytes, start: int, end: int) -> Picture | None:
        samples = body[start + 1 : end - 1 : (end - start - 2) // _SAMPLES]
        known = self._get((end - start - 2, samples.decode("latin-1")))
        return known if known and known.written and body.startswith(known.written, start) else None

    def _get(self, fingerprint: tuple[int, str]) -> Picture | None:
        with self._lock:
            known = self._pictures.get(fingerprint)
            if known is not None:
                self._pictures.move_to_end(fingerprint)
        return known

    def _forget(self, fingerprint: tuple[int, str]) -> None:
        if (picture := self._pictures.pop(fingerprint, None)) is not None:
            self._bytes -= _weight(picture)


def _weight(picture: Picture) -> int:
    """Each text counts twice: as it is, and as JSON once that has been asked for."""
    return 2 * (len(picture.text) + (0 if picture.key_text is picture.text else len(picture.key_text)))


def _json(text: str) -> bytes:
    try:
        return trimmed(orjson.dumps(text))
    except TypeError:  # a lone surrogate
        return b""


_known = _Known()


def map_pictures(format: Format, body: Json, change: Callable[[str], str]) -> Json:
    """`body` with the texts changed that stand where its API has pictures; `body` itself if none changes."""
    mapped: Json = walking.map_texts_at(body, format.image_places, change, leave=format.reference_types)
    return mapped


def without_metadata(text: str) -> str:
    """The text of a picture as it enters a key; `text` itself if there is nothing to leave out, or it is no picture."""
    picture = picture_of(text)
    return text if picture.key_text is picture.text else picture.key_text


def picture_of(text: str) -> Picture:
    """What is known of a text that stands where a picture may be."""
    return Picture(text) if len(text) < LONG else _known.picture(text)


def known_picture(body: bytes, start: int, end: int) -> Picture | None:
    """The remembered picture that is written from `start` to `end` of a JSON text, quotes included, if there is one."""
    return None if end - start - 2 < LONG else _known.written_in(body, start, end)
