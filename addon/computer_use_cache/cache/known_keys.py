"""Keys of requests that were met before, found without hashing their pictures again."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys import key
from computer_use_cache.screens.picture import map_pictures, picture_of, without_metadata
from computer_use_cache.store.memory import BoundedMemory

_MOST_KEYS = 8192


class KnownKeys:
    """Remembers keys by a digest of the request in which numbers stand for the pictures."""

    def __init__(self) -> None:
        self._keys = BoundedMemory[str, str](_MOST_KEYS)

    def key(self, beginning: Any, format: Format, body: Json, counted: str) -> str:
        """`key.finish` of a body whose pictures still have their metadata. Raises FormatError."""
        pictures: list[str] = []
        numbered = map_pictures(format, body, partial(_numbered, pictures))
        if not pictures:
            return key.finish(beginning, body, counted)
        name = key.finish(beginning, numbered, counted) if numbered is not body else ""
        found = self._keys.get(name) if name else None
        if found is None:
            found = key.finish(beginning, map_pictures(format, body, without_metadata), counted)
            if name:
                self._keys.put(name, found)
        return found


def _numbered(pictures: list[str], text: str) -> Any:
    """What stands for a picture, which is appended to `pictures`. It is no JSON, so no other body can hold it."""
    pictures.append(text)
    number = picture_of(text).number
    return text if number is None else orjson.Fragment(f"<{number}>".encode())
