"""Walks over JSON values."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

type _Tree = dict[str, "_Tree"]


def map_places(value: Any, places: tuple[str, ...], change: Callable[[Any], Any], leave: Collection[str] = ()) -> Any:
    """`value` with what stands at the places changed: `messages/*/id`, with `*` for every item of a list. Objects whose
    `type` is in `leave` stay as they are. Members are visited by name.

    What does not change is not copied: if nothing changes, the result is `value` itself.
    """
    return _at(value, _tree(places), change, leave)


def _at(value: Any, tree: _Tree, change: Callable[[Any], Any], leave: Collection[str]) -> Any:
    if not tree:
        return change(value)
    match value:
        case list() if "*" in tree:
            items = [_at(item, tree["*"], change, leave) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        case dict() if value.get("type") not in leave:
            names = sorted(value.keys() & tree.keys())
            members = {name: _at(value[name], tree[name], change, leave) for name in names}
            return value | members if any(members[name] is not value[name] for name in names) else value
    return value


@cache
def _tree(places: tuple[str, ...]) -> _Tree:
    """Places by their first part; a place ends where the tree does."""
    tree: _Tree = {}
    for place in places:
        below = tree
        for part in place.split("/"):
            below = below.setdefault(part, {})
    return tree
