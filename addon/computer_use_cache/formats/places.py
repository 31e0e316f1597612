"""Places in the JSON of a request, as formats name them: member names, and `*` for every item of a list."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

type Tree = dict[str, Any]

REFERENCE_TYPES = ("item_reference", "image_generation_call")
"""Items whose id names what the provider keeps: nothing in them is changed."""


@functools.cache
def tree(places: tuple[str, ...]) -> Tree:
    """Places by their first part; a place ends where the tree does."""
    whole: Tree = {}
    for place in places:
        below = whole
        for part in place.split("/"):
            below = below.setdefault(part, {})
    return whole


def changed(value: Any, places: Tree, change: Callable[[str], str]) -> Any:
    """`value` with the texts at `places` changed. What does not change is not copied: without any change, the result
    is `value` itself. Members are visited in alphabetical order, so that numbering does not depend on theirs."""
    match value:
        case str() if not places:
            return change(value)
        case list() if "*" in places:
            items = [changed(item, places["*"], change) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        case dict() if value.get("type") not in REFERENCE_TYPES:
            names = sorted(value.keys() & places.keys())
            members = {name: changed(value[name], places[name], change) for name in names}
            return value | members if any(members[name] is not value[name] for name in names) else value
    return value
