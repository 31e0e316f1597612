"""Walks over JSON values: all texts, the values at given places, all but certain members. Values are never changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from typing import Any

type Tree = dict[str, "Tree"]
type Place = tuple[str | int, ...]
type Node = tuple["Node", str | int] | None
"""A place as a linked list, which is cheap to extend: few of the places walked over are ever asked for."""
_ABSENT = object()


def map_texts(
    value: Any,
    change: Callable[[str], str],
    *,
    leave: Collection[str] = (),
    order: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Any:
    """`value` with every text changed except in the members named in `leave`. Members are visited in `order`, which
    matters only to a `change` that counts."""
    match value:
        case str():
            return change(value)
        case list():
            return [map_texts(item, change, leave=leave, order=order) for item in value]
        case dict():
            visited = order(name for name in value if name not in leave)
            return value | {name: map_texts(value[name], change, leave=leave, order=order) for name in visited}
    return value


def map_places(value: Any, places: tuple[str, ...], change: Callable[[Any], Any], leave: Collection[str] = ()) -> Any:
    """`value` with the values at these places changed: `messages/*/id`, with `*` for every item of a list. Objects
    whose `type` is in `leave` stay as they are. Members are visited by name.

    What does not change is not copied: if nothing changes, the result is `value` itself.
    """
    tree = tree_of(places)
    # Most requests have nothing there. To see that takes a quarter of the time.
    return _at(value, tree, change, leave) if _holds_any([value], tree) else value


def map_texts_at(value: Any, places: tuple[str, ...], change: Callable[[str], str], leave: Collection[str] = ()) -> Any:
    """The same for the texts at the places; anything else there stays."""

    def changed(found: Any) -> Any:
        return change(found) if isinstance(found, str) else found

    return map_places(value, places, changed, leave)


def _holds_any(values: list[Any], tree: Tree) -> bool:
    """Whether one of the values has anything at a place of the tree. Goes level by level: a call for each would take
    longer than all else."""
    for name, below in tree.items():
        if name == "*":
            items: list[Any] = []
            for value in values:
                if isinstance(value, list):
                    items += value
        else:
            items = [value[name] for value in values if isinstance(value, dict) and name in value]
        if items and (not below or _holds_any(items, below)):
            return True
    return False


def _at(value: Any, tree: Tree, change: Callable[[Any], Any], leave: Collection[str]) -> Any:
    # Every request is walked over, and most change nowhere: a container is copied when its first item changes.
    if not tree:
        return change(value)
    copy: Any = None
    if isinstance(value, dict):
        if value.get("type") in leave:
            return value
        for name, below in tree.items():
            item = value.get(name, _ABSENT)
            if item is _ABSENT or (below and not isinstance(item, (dict, list))):
                continue
            if (new := _at(item, below, change, leave)) is not item:
                copy = value.copy() if copy is None else copy
                copy[name] = new
    elif isinstance(value, list) and (each := tree.get("*")) is not None:
        for index, item in enumerate(value):
            if each and isinstance(item, dict) and each.keys().isdisjoint(item):
                continue
            if (new := _at(item, each, change, leave)) is not item:
                copy = value.copy() if copy is None else copy
                copy[index] = new
    return value if copy is None else copy


@cache
def tree_of(places: tuple[str, ...]) -> Tree:
    """Places (`messages/*/tool_call_id`) as a tree of their parts, sorted by name. A place ends at a leaf."""
    tree: Tree = {}
    for place in sorted(places):
        below = tree
        for part in place.split("/"):
            below = below.setdefault(part, {})
    return tree


def without_places(value: Any, places: tuple[str, ...]) -> Any:
    """`value` without the members at the places; `value` itself if there are none."""
    return _without(value, tree_of(places))


def _without(value: Any, tree: Tree) -> Any:
    copy: Any = None
    if isinstance(value, dict):
        if tree.keys().isdisjoint(value):
            return value
        for name, below in tree.items():
            if name in value and not below:
                copy = value.copy() if copy is None else copy
                del copy[name]
            elif name in value and (new := _without(value[name], below)) is not value[name]:
                copy = value.copy() if copy is None else copy
                copy[name] = new
    elif isinstance(value, list) and (each := tree.get("*")) is not None:
        items = [_without(item, each) for item in value]
        copy = items if any(new is not old for new, old in zip(items, value, strict=True)) else None
    return value if copy is None else copy


def without_members(value: Any, names: Collection[str]) -> Any:
    """`value` without the members of these names, wherever they are."""
    match value:
        case dict():
            return {name: without_members(item, names) for name, item in value.items() if name not in names}
        case list():
            return [without_members(item, names) for item in value]
    return value


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, in its order."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            pending.extend(reversed(found.values()))
        elif isinstance(found, list):
            pending.extend(reversed(found))


def placed_texts(value: Any) -> Iterator[tuple[Node, str]]:
    """Every text in a value, in its order, each with a node for `place_of`."""
    pending: list[tuple[Node, Any]] = [(None, value)]
    while pending:
        node, found = pending.pop()
        match found:
            case str():
                yield node, found
            case list():
                pending.extend(((node, index), item) for index, item in reversed(list(enumerate(found))))
            case dict():
                pending.extend(((node, name), item) for name, item in reversed(found.items()))


def place_of(node: Node) -> Place:
    """The names and indexes that lead to a node: `("messages", 0, "content")`."""
    place: list[str | int] = []
    while node:
        node, step = node
        place.append(step)
    return tuple(reversed(place))
