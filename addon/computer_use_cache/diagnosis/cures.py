"""Which normalisers would turn a near miss into a hit, and a right one.

A combination is suggested only if it makes the two requests equal, and if the stored answer does not repeat the values
that it would ignore: an agent that is told to write to `/tmp/a` must not be served an answer that writes to `/tmp/b`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from computer_use_cache import formats
from computer_use_cache.diagnosis.request_record import digests, with_media
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import walking
from computer_use_cache.formats.base import Format, Json, load_object
from computer_use_cache.keys import canonical_json, normalizers
from computer_use_cache.models import Entry, RequestRecord, Shape
from computer_use_cache.screens.pixels import can_decode
from computer_use_cache.store.base import RequestLog, Store

_MOST_PICTURES = 8
"""Decoding is slow; this allows four pictures of each request."""
_normalizer = functools.cache(normalizers.named)
"""Cached because compiling patterns is slow, and because `image-pixels` remembers the pictures it has seen."""
_TEXT_NAMES = tuple(name for name in normalizers.NAMES if not name.startswith("image-"))
_WORD = re.compile(r"\w+")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
"""Escapes in JSON that is a string itself, as arguments of tool calls are: `\\n7` is not a word `n7`."""
_LONG_WORD = 5
"""A value this long is found inside longer words, too; the `24` of a date only as a word."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two compared requests to an API: its record, and its body as it enters the key."""

    format: Format
    record: RequestRecord
    body: Json


def cure(store: Store, asked: Side, stored: Side, key: str) -> tuple[str, ...]:
    """The fewest normalisers that make two requests equal, given that they differ in their bodies only.

    Empty if none do, or if the answer stored under `key` could be wrong for `asked`. Blocks; raises StoreError.
    """
    pair, pixels = (asked.body, stored.body), tuple[str, ...]()
    if not _are_enough(asked.format, _TEXT_NAMES, pair):
        decoded = _with_pixels(store, asked, stored)
        if decoded is None or not _are_enough(asked.format, _TEXT_NAMES, decoded):
            return ()
        pair, pixels = decoded, ("image-pixels",)
    entry = store.get(key)
    if entry is None or _repeats(entry, _differing_words(*pair)):
        return ()
    return (*_fewest(asked.format, pair), *pixels)


def _fewest(format: Format, pair: tuple[Json, Json]) -> tuple[str, ...]:
    """None or one if that is enough, else all without those that can be spared."""
    for few in ((), *((name,) for name in _TEXT_NAMES)):
        if _are_enough(format, few, pair):
            return few
    names = list(_TEXT_NAMES)
    for name in _TEXT_NAMES:
        if _are_enough(format, others := [other for other in names if other != name], pair):
            names = others
    return tuple(names)


def _are_enough(format: Format, names: Iterable[str], pair: tuple[Json, Json]) -> bool:
    one, other = pair
    for name in names:
        one, other = _normalizer(name).apply(format, one), _normalizer(name).apply(format, other)
    return canonical_json.canonical(one) == canonical_json.canonical(other)


def _with_pixels(store: RequestLog, asked: Side, stored: Side) -> tuple[Json, Json] | None:
    """Both bodies with differing pictures replaced by digests of their pixels, which takes tens of milliseconds each.

    None if something besides pictures differs for good, or if a picture is no longer stored.
    """
    differing = digests(asked.record.body) ^ digests(stored.record.body)
    if not 0 < len(differing) <= _MOST_PICTURES or not can_decode():
        return None
    blank = with_media(asked.body, lambda _: ""), with_media(stored.body, lambda _: "")
    if not _are_enough(asked.format, _TEXT_NAMES, blank):
        return None
    texts = {digest: asked.record.media.get(digest) or store.media(digest) for digest in differing}

    def decoded(body: Json) -> Json:
        with_pictures = with_media(body, lambda digest: texts.get(digest) or digest)
        return _normalizer("image-pixels").apply(asked.format, with_pictures)

    return decoded(asked.body), decoded(stored.body)


def _differing_words(asked: object, recorded: object) -> Iterator[str]:
    """The recorded words that differ between two bodies that a normaliser makes equal, which have the same shape."""
    match asked, recorded:
        case dict(), dict():
            for name in asked.keys() & recorded.keys():
                yield from _differing_words(asked[name], recorded[name])
        case list(), list():
            for one, other in zip(asked, recorded, strict=False):
                yield from _differing_words(one, other)
        case str(), str() if asked != recorded:
            ours, theirs = _WORD.findall(asked), _WORD.findall(recorded)
            if len(ours) == len(theirs):
                yield from (word for word, other in zip(theirs, ours, strict=True) if word != other)
            else:  # a date may be spelled with more words: take all from the first difference to the last
                start = _shared(ours, theirs)
                yield from theirs[start : len(theirs) - _shared(ours[start:][::-1], theirs[start:][::-1])]


def _shared(ours: list[str], theirs: list[str]) -> int:
    """How many words two lists share at their start."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(ours), len(theirs)))


def _repeats(entry: Entry, words: Iterator[str]) -> bool:
    """True if the answer holds one of the words, or cannot be read."""
    try:
        answer = answer_of(entry.format, entry.body, entry.shape)
    except FormatError:
        return True
    text = _ESCAPE.sub(" ", "\n".join(walking.texts(answer))).lower()
    spoken = set(_WORD.findall(text))
    return any(word in spoken or (len(word) >= _LONG_WORD and word in text) for word in map(str.lower, words))


def answer_of(format_name: str, body: bytes, shape: Shape) -> Json:
    """An answer as one JSON object, assembled if it was streamed. Raises FormatError."""
    format = formats.by_name(format_name)
    return load_object(body) if shape is Shape.JSON else format.assemble(format.split_stream(body, shape))
