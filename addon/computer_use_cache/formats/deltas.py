"""Joins the events of a stream that only add to one text.

Most events of most streams do, and differ in nothing but the piece of text. One event with all the text says the same,
and is read in a fraction of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from computer_use_cache.models import Event

PIECE = rb'(?P<text>[^"\\\x00-\x1f]*)'
"""A JSON string without escapes: halves of a character that are escaped in two events do not make that character."""

type _Read = tuple[Event, re.Match[bytes] | None]


def joined(events: Iterable[Event], delta: re.Pattern[bytes]) -> list[Event]:
    """The events, with one in place of each run of those that `delta` matches as a whole and that differ only in their
    group `text`, or in what follows their group `end`, which must mean nothing."""
    found = []
    for _, run in groupby(((event, delta.fullmatch(event.data)) for event in events), _frame):
        (event, match), *others = run
        if match and others:
            end = match.end("text")
            pieces = (other["text"] for _, other in others if other)
            event = Event(event.name, b"".join((event.data[:end], *pieces, event.data[end:])))
        found.append(event)
    return found


def _frame(read: _Read) -> object:
    """What is the same in all events of a run. An event that is no delta is a run by itself."""
    event, match = read
    if match is None or not _is_utf8(match["text"]):
        return object()
    return event.name, event.data[: match.start("text")], match["end"]


def _is_utf8(text: bytes) -> bool:
    """False for half a character, which is an error even if the next event holds the other half."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
