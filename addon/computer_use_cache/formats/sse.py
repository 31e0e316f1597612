"""Server-sent events as bytes: lines end at CR, LF or CRLF only, never at U+2028 or U+0085.

Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from computer_use_cache.models import Event

_BOM = b"\xef\xbb\xbf"
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
"""The end of a line and the blank line after it. If the bytes received so far end with the CR of a CRLF, it counts as a
line's end, and the LF is later read as one more blank line, which changes nothing."""


def parse(body: bytes) -> Iterator[Event]:
    """The events of a whole stream, in order; comments, `id` and `retry` are passed over.

    The last event may lack its blank line, because some servers close right after `data: [DONE]`. Only the API's
    terminal event shows whether the stream is complete.
    """
    text = body.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for block in text.split(b"\n\n"):
        if block.startswith(b"data: ") and b"\n" not in block:  # nearly all events of most streams
            yield Event("", block[6:])
        elif event := _event(block.split(b"\n")):
            yield event


def _event(lines: list[bytes]) -> Event | None:
    name = b""
    data: list[bytes] = []
    for line in lines:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name.decode("utf-8", "replace"), b"\n".join(data)) if data else None


class Reader:
    """Reads a stream as it arrives."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._before = b""
        """A blank line, once something was read: a byte order mark only counts at the beginning of the stream."""
        self._searched = 0
        """How many bytes of the rest are known to hold no event's end."""

    def feed(self, data: bytes) -> list[Event]:
        """Add received bytes. Returns the events that are complete now."""
        self._rest += data
        ends = [found.end() for found in _EVENT_END.finditer(self._rest, self._searched)]
        if not ends:
            self._searched = max(len(self._rest) - 3, 0)
            return []
        whole = self._before + bytes(self._rest[: ends[-1]])
        del self._rest[: ends[-1]]
        self._before, self._searched = b"\n", 0
        return list(parse(whole))

    def end(self) -> list[Event]:
        """The last event, if its blank line is missing."""
        return list(parse(self._before + bytes(self._rest)))


def encode(events: Iterable[Event]) -> Iterator[bytes]:
    """One frame of bytes per event, ready to be sent."""
    for event in events:
        head = b"event: %s\n" % event.name.encode() if event.name else b""
        data = b"".join(b"data: %s\n" % line for line in event.data.split(b"\n"))
        yield head + data + b"\n"
