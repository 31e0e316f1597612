"""Joins the events of a stream that only add to one text.

Most events of most streams do nothing else, and differ only in their piece of text. One event with all of the text
says the same, and is read in a fraction of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from computer_use_cache.models import Event

_PIECE = rb'(?P<text>[^"\\\x00-\x1f]*)'
"""A JSON string without escapes: halves of a character that are escaped in two events do not make that character."""


class TextDelta(NamedTuple):
    """The patterns of such an event's data: what comes before the piece of text, and the piece with what follows. Of
    what follows, only the group `end` must be the same in all events that are joined."""

    before: re.Pattern[bytes]
    rest: re.Pattern[bytes]

    @classmethod
    def of(cls, before: bytes, after: bytes) -> TextDelta:
        """`before` and `after` the piece of text, as patterns."""
        return cls(re.compile(before), re.compile(_PIECE + after))


class _Run:
    """The events that are joined to `event`."""

    def __init__(self, event: Event, delta: TextDelta) -> None:
        self._event = event
        self._rest = delta.rest
        head = delta.before.match(event.data)
        self._before = head[0] if head else b""
        self._first = self._piece(event) if head else None
        self._more: list[bytes] = []

    def _piece(self, event: Event) -> re.Match[bytes] | None:
        found = self._rest.fullmatch(event.data, len(self._before))
        return found if found and _is_utf8(found["text"]) else None

    def add(self, event: Event) -> bool:
        """Join an event; False if it says anything but a piece of the same text."""
        if not self._first or event.name != self._event.name or not event.data.startswith(self._before):
            return False
        found = self._piece(event)
        if found is None or found["end"] != self._first["end"]:
            return False
        self._more.append(found["text"])
        return True

    def event(self) -> Event:
        """One event with all of the text."""
        if not self._first or not self._more:
            return self._event
        data, at = self._event.data, self._first.end("text")
        return Event(self._event.name, b"".join((data[:at], *self._more, data[at:])))


def joined(events: Iterable[Event], delta: TextDelta) -> list[Event]:
    """The events, with one in place of each run of those that only add to one text."""
    runs: list[_Run] = []
    for event in events:
        if not (runs and runs[-1].add(event)):
            runs.append(_Run(event, delta))
    return [run.event() for run in runs]


def _is_utf8(text: bytes) -> bool:
    """False for half a character, which is an error even if the next event holds the other half."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
