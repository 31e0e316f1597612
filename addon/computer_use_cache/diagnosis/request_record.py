"""The request of an entry as it is kept: what the key was made of and the provider was sent, its pictures apart.

A conversation shows its screenshots again with every turn: each long base64 text is kept once, under its digest, and
the requests hold the digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from computer_use_cache.screens.picture import picture_of

_LONG = 1024
"""Shorter texts are kept as they are."""
_OPENING = 300
"""A text is looked for by so many of its bytes: to look for a megabyte takes longer than to compare it."""
_DIGEST = re.compile(r"<sha256:([0-9a-f]{64}) of [0-9]+ characters>")
_DIGEST_BYTES = re.compile(_DIGEST.pattern.encode())


class Taken(NamedTuple):
    """A long base64 text that was taken out: what stands before it in its value, its digest, and the text."""

    before: str
    digest: str
    text: str

    @property
    def name(self) -> str:
        """What stands in its place."""
        return f"<sha256:{self.digest} of {len(self.text)} characters>"


def without_media(value: Any, taken: list[Taken]) -> Any:
    """`value` (JSON) with a digest in the place of each long base64 text; `taken` gets these, in their order."""
    match value:
        case str() if len(value) > _LONG and (found := _base64(value)):
            taken.append(found)
            return found.before + found.name
        case dict():
            return {name: without_media(item, taken) for name, item in value.items()}
        case list():
            return [without_media(item, taken) for item in value]
    return value


def _base64(text: str) -> Taken | None:
    """The data of a text that is base64, alone or in a data URL. No regular expression reads it: on a screenshot that
    would hold the interpreter for milliseconds."""
    picture = picture_of(text)
    data = picture.data
    if len(data.rstrip("=")) < _LONG or not picture.is_base64:
        return None
    return Taken(picture.before, picture.digest, data)


def bytes_without_media(body: bytes, taken: Iterable[Taken]) -> bytes | None:
    """The same for the JSON as it was sent, in which `taken` are known; None where one is not written plainly in it."""
    pieces, end = [], 0
    for each in taken:
        whole = f'"{each.before}{each.text}"'.encode()
        opening = whole[:_OPENING]
        at = body.find(opening, end)
        while at >= 0 and not body.startswith(whole, at):
            at = body.find(opening, at + 1)
        if at < 0:
            return None
        pieces += [body[end:at], f'"{each.before}{each.name}"'.encode()]
        end = at + len(whole)
    return b"".join([*pieces, body[end:]])


def is_media(text: str) -> bool:
    """Whether a recorded text stands for data."""
    return _DIGEST.fullmatch(text.rpartition(",")[2]) is not None


def digests(body: bytes) -> set[str]:
    """The digests in a recorded body."""
    return {found.decode() for found in _DIGEST_BYTES.findall(body)}


def bytes_with_media(body: bytes, find: Callable[[str], str | None]) -> bytes | None:
    """What was sent: each digest in a recorded body gives way to the text that `find` has of it; None where it has
    none."""
    texts = {digest: find(digest) for digest in digests(body)}
    if None in texts.values():
        return None
    return _DIGEST_BYTES.sub(lambda found: (texts[found[1].decode()] or "").encode(), body)


def with_media(value: Any, text_of: Callable[[str], str]) -> Any:
    """`value` (JSON, recorded) with `text_of` each digest in its place."""
    match value:
        case str():
            return _DIGEST.sub(lambda found: text_of(found[1]), value)
        case dict():
            return {name: with_media(item, text_of) for name, item in value.items()}
        case list():
            return [with_media(item, text_of) for item in value]
    return value
