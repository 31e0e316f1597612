"""Pictures in near misses: how they differ, and the settings that would have made them equal.

Recorded requests name their pictures by digest, so pictures are compared by what they show, never by their base64.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from computer_use_cache.diagnosis.differences import Difference, differences, value_at
from computer_use_cache.formats.base import Json
from computer_use_cache.formats.placeholder import digest_in
from computer_use_cache.models import RequestRecord
from computer_use_cache.screens import differences as screens_differences
from computer_use_cache.screens.approval import Approval, Comparison, Find, OtherSize, Same, Undecodable
from computer_use_cache.screens.masks import Size
from computer_use_cache.screens.picture import picture_of
from computer_use_cache.screens.pixels import can_decode
from computer_use_cache.screens.suggest import Pair
from computer_use_cache.store.base import RequestLog

_MOST_DIFFERENCES = 500
_MOST_PAIRS = 40
"""Comparing two pictures that are new takes tens of milliseconds."""


def finder(store: RequestLog, asked: RequestRecord) -> Find:
    """Finds the pictures of a new request and of stored ones."""
    return lambda digest: asked.media.get(digest) or store.media(digest)


def differing(asked: Json, recorded: Json) -> dict[str, Pair]:
    """The pictures that differ between two recorded bodies, by their paths."""
    found: dict[str, Pair] = {}
    for difference in islice(differences(asked, recorded), _MOST_DIFFERENCES):
        one, other = (_picture(value_at(body, difference.path)) for body in (recorded, asked))
        if one and other and len(found) < _MOST_PAIRS:
            found[difference.path] = one, other
    return found


def _picture(value: Any) -> str | None:
    return digest_in(value) if isinstance(value, str) else None


def with_recorded(asked: Any, recorded: Any, pairs: Collection[Pair]) -> Any:
    """The new request's body with the recorded pictures in place of its own, for these pairs."""
    match asked, recorded:
        case dict(), dict():
            shared = asked.keys() & recorded.keys()
            return asked | {name: with_recorded(asked[name], recorded[name], pairs) for name in shared}
        case list(), list():
            both = zip(asked, recorded, strict=False)
            return [with_recorded(one, other, pairs) for one, other in both] + asked[len(recorded) :]
        case str(), str() if asked != recorded and (_picture(recorded), _picture(asked)) in pairs:
            is_one_type = asked.rpartition("<")[0] == recorded.rpartition("<")[0]
            return recorded if is_one_type else asked
    return asked


def compared(screens: Approval, pairs: Mapping[str, Pair], find: Find) -> dict[str, Comparison]:
    """How the pictures compare under the current rules, by path. Slow for pictures that are new."""
    if not can_decode():
        return dict.fromkeys(pairs, Undecodable())
    return {path: screens.compare(*pair, find) for path, pair in pairs.items()}


def distance(comparison: Comparison) -> float:
    """How many pixels differ; of pictures that cannot be compared, all."""
    match comparison:
        case Same():
            return 0
        case screens_differences.Difference(pixels=pixels):
            return pixels
    return math.inf


def described(difference: Difference, comparison: Comparison, pair: Pair, find: Find) -> Difference:
    """The difference, described by what the pictures show."""
    match comparison:
        case screens_differences.Difference(size):
            recorded = asked = _size(size)
        case OtherSize(old, new):
            recorded, asked = _size(old), _size(new)
        case _:
            recorded, asked = (_shown(find(digest)) for digest in pair)
    return replace(difference, at=None, asked=asked, recorded=recorded, picture=_told(comparison))


def _told(comparison: Comparison) -> str:
    match comparison:
        case Same(rules):
            return f"equal by {', '.join(sorted(rules))}" if rules else "the same picture in another file"
        case Undecodable() if not can_decode():
            return "another picture (Pillow, which compares pixels, is not installed)"
    return str(comparison)


def _shown(data: str | None) -> str:
    if data is None:
        return "<picture, no longer stored>"
    size = picture_of(data).size
    return _size(size) if size else "<file>"


def _size(size: Size) -> str:
    return f"<picture {size[0]}x{size[1]}>"
