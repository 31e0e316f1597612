"""Answers with zero usage, for clients that bill by it: a hit cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computer_use_cache.formats import walking
from computer_use_cache.formats.base import Format, dump, load_object
from computer_use_cache.models import Event, Shape


def zeroed(format: Format, body: bytes, shape: Shape) -> list[bytes]:
    """The pieces of an answer in `shape` with zero for every number of its usage. Raises FormatError."""
    if shape is Shape.JSON:
        return [_zeroed(format, body)]
    if shape is Shape.RAW:  # sound and subtitles have no usage, though they may contain the word
        return [body]
    events: Sequence[Event] = format.split_stream(body, shape)
    member = format.usage_places[0].encode()
    return format.join_stream(
        [Event(event.name, _zeroed(format, event.data)) if member in event.data else event for event in events], shape
    )


def _zeroed(format: Format, data: bytes) -> bytes:
    return dump(walking.map_places(load_object(data), format.usage_places, _zero))


def _zero(value: Any) -> Any:
    match value:
        case dict():
            return {name: _zero(member) for name, member in value.items()}
        case list():
            return [_zero(item) for item in value]
        case bool():
            return value
        case int() | float():
            return 0
    return value
