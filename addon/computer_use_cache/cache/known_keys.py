"""Keys of requests that were met before, found without hashing their pictures again.

A body is written with a mark in place of each picture. Its key is remembered by a digest of that. For a new key the
pictures are hashed where their marks are: writing them into the body would take as long again as parsing it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson

from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys import key
from computer_use_cache.keys.canonical_json import canonical
from computer_use_cache.memory import BoundedMemory
from computer_use_cache.screens.picture import Picture, map_pictures, picture_of

_MOST_KEYS = 8192
_NONCE = secrets.token_hex(16)
"""No client can know the marks, and so write one into a text."""
_MARK = re.compile(f"<{_NONCE} ([0-9]+)>".encode())


class KnownKeys:
    """Remembers keys by a digest of the request in which numbers stand for the pictures."""

    def __init__(self) -> None:
        self._keys = BoundedMemory[str, str](_MOST_KEYS)

    def key(self, beginning: Any, format: Format, body: Json, counted: str) -> str:
        """`key.finish` of a body whose pictures still have their metadata. Raises FormatError."""
        pictures: dict[int, Picture] = {}
        marked = canonical(map_pictures(format, body, partial(_marked, pictures)))
        name = key.finish_written(beginning, [marked], counted)
        if not pictures:
            return name
        found = self._keys.get(name)
        if found is None:
            found = key.finish_written(beginning, list(_with_pictures(marked, pictures)), counted)
            self._keys.put(name, found)
        return found


def _marked(pictures: dict[int, Picture], text: str) -> Any:
    """The mark of a remembered picture, which is added to `pictures`; any other text as it enters a key."""
    picture = picture_of(text)
    if picture.number is None:
        return text if picture.key_text is picture.text else picture.key_text
    pictures[picture.number] = picture
    return orjson.Fragment(f"<{_NONCE} {picture.number}>".encode())


def _with_pictures(marked: bytes, pictures: dict[int, Picture]) -> Iterator[bytes]:
    """The canonical form in pieces, with the pictures in the places of their marks."""
    done = 0
    for mark in _MARK.finditer(marked):
        picture = pictures[int(mark[1])]
        yield marked[done : mark.start()]
        yield picture.key_written or canonical(picture.key_text)
        done = mark.end()
    yield marked[done:]
