"""What logged near misses have in common: what moved, how often, and the settings that would have helped."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from computer_use_cache.diagnosis.cures import CHANGED
from computer_use_cache.formats.base import Json

_LISTS = ("CACHE_IGNORE_KEYS", "CACHE_NORMALIZE", "CACHE_BIND")
"""Settings that are lists."""
_COMMA = re.compile(r"(?<!\\),")
"""A comma between items; one inside of a rule is escaped."""


def grouped(misses: Iterable[Json]) -> list[Json]:
    """Misses (from `near_miss.misses`, newest first) by what would have helped, else by the first differing path.

    Largest group first, each with its `path`, the number of `misses`, its `settings`, why there are none (`uncured`),
    and its newest `example`.
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
            "example": group[0],
        }
        for group in ordered
    ]


def _cause(miss: Json) -> tuple[str, ...]:
    settings = _settings(miss)
    return tuple(map("=".join, settings.items())) or (miss["differences"][0]["path"], _uncured(miss))


def _settings(miss: Json) -> dict[str, str]:
    """None in misses that an earlier version logged."""
    found: dict[str, str] = miss.get("settings", {})
    return found


def _uncured(miss: Json) -> str:
    return "" if _settings(miss) else str(miss.get("uncured", CHANGED))


def merged(every: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """One text for each variable: lists are joined, of other settings the last counts."""
    found: dict[str, str] = {}
    for settings in every:
        for variable, text in settings.items():
            items = [*_items(found.get(variable, "")), *_items(text)] if variable in _LISTS else [text]
            found[variable] = ",".join(dict.fromkeys(items))
    return found


def _items(text: str) -> Iterable[str]:
    return filter(None, (item.strip() for item in _COMMA.split(text)))
