"""What logged near misses have in common: what moved, how often, and the settings that would have helped."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from computer_use_cache.diagnosis.cures import CHANGED, FOLLOWS
from computer_use_cache.formats.base import Json
from computer_use_cache.screens import suggest
from computer_use_cache.screens.approval import Rule
from computer_use_cache.screens.masks import Mask
from computer_use_cache.screens.pixels import can_decode
from computer_use_cache.screens.suggest import PictureMiss
from computer_use_cache.store.base import RequestLog

_MOST_CAUSES = 3
"""A summary must be short enough to read."""
_LISTS = ("CACHE_IGNORE_KEYS", "CACHE_NORMALIZE", "CACHE_BIND")
"""Settings that are lists."""
_COMMA = re.compile(r"(?<!\\),")
"""A comma between items; one inside of a rule is escaped."""


def for_all(misses: Sequence[Json], store: RequestLog, masks: Iterable[Mask]) -> list[Json]:
    """The misses, with one common setting for those that a mask or the rule for text cursors would have cured.

    The setting is made from all their pictures, and `pictures_cured` says what it helps against. `masks` are those in
    force. Slow, and blocks; raises StoreError.
    """
    result = list(misses)
    places = [place for place, miss in enumerate(result) if _is_cured_by_pictures(miss)]
    if not places or not can_decode():
        return result
    asked = [_picture_miss(result[place]) for place in places]
    found = suggest.suggest(asked, store.media, "; ".join(map(str, masks)))
    if found is None:
        return result
    helped = [place for place, miss in zip(places, asked, strict=True) if miss in found.misses]
    settings = merged([*(result[place]["settings"] for place in helped), found.settings])
    for place in helped:
        result[place] = result[place] | {"settings": settings, "pictures_cured": str(found)}
    return result


def _is_cured_by_pictures(miss: Json) -> bool:
    settings = _settings(miss)
    return bool(miss.get("pictures")) and (
        "CACHE_IMAGE_MASK" in settings or Rule.CARET in settings.get("CACHE_NORMALIZE", "")
    )


def _picture_miss(miss: Json) -> PictureMiss:
    return PictureMiss(miss["run"], tuple((recorded, asked) for recorded, asked in miss["pictures"]))


def grouped(misses: Iterable[Json]) -> list[Json]:
    """Misses (from `miss_log.near_misses`, newest first) by what would have helped, else by the first picture that
    differs, else by the first differing path.

    Largest group first, each with its `path`, the number of `misses`, its `settings`, why there are none (`uncured`),
    the differing `pictures` in words, and its newest `example`.
    """
    groups: dict[tuple[str, ...], list[Json]] = defaultdict(list)
    for miss in misses:
        groups[_cause(miss)].append(miss)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [
        {
            "path": group[0]["differences"][0]["path"],
            "misses": len(group),
            "settings": _settings(group[0]),
            "uncured": _uncured(group[0]),
            "pictures": _pictures(group),
            "example": group[0],
        }
        for group in ordered
    ]


def _pictures(group: Sequence[Json]) -> str:
    """How the pictures of these misses differ; empty if none do."""
    found = suggest.causes(_picture_miss(miss) for miss in reversed(group) if miss.get("pictures"))
    if not found or _uncured(group[0]) == FOLLOWS:
        return ""
    first = group[-1]["differences"][0]
    cured = group[0].get("pictures_cured") or first.get("picture", "")
    return "; ".join(filter(None, (cured, *map(str, found[:_MOST_CAUSES]))))


def _cause(miss: Json) -> tuple[str, ...]:
    settings = _settings(miss)
    if settings:
        return tuple(map("=".join, settings.items()))
    if _uncured(miss) == FOLLOWS:
        return (FOLLOWS,)
    pictures = miss.get("pictures")
    return (*(pictures[0] if pictures else (miss["differences"][0]["path"],)), _uncured(miss))


def _settings(miss: Json) -> dict[str, str]:
    """Empty for misses that an earlier version logged."""
    found: dict[str, str] = miss.get("settings", {})
    return found


def _uncured(miss: Json) -> str:
    return "" if _settings(miss) else str(miss.get("uncured", CHANGED))


def merged(every: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """One text for each variable: lists are joined; of any other setting, the last one wins."""
    found: dict[str, str] = {}
    for settings in every:
        for variable, text in settings.items():
            items = [*_items(found.get(variable, "")), *_items(text)] if variable in _LISTS else [text]
            found[variable] = ",".join(dict.fromkeys(items))
    return found


def _items(text: str) -> Iterable[str]:
    return filter(None, (item.strip() for item in _COMMA.split(text)))
