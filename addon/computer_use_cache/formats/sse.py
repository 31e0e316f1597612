"""Server-sent events as bytes: lines end at CR, LF or CRLF only, never at U+2028 or U+0085.

Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from computer_use_cache.models import Event

_BOM = b"\xef\xbb\xbf"


def parse(body: bytes) -> Iterator[Event]:
    """The events of a whole stream, in order; comments, `id` and `retry` are passed over.

    A last event without its blank line is given too: some servers close right after `data: [DONE]`,
    and whether the stream is complete is for the API's terminal event to say.
    """
    lines = body.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    name = b""
    data: list[bytes] = []
    for line in (*lines, b""):
        if not line:
            if data:
                yield Event(name.decode("utf-8", "replace"), b"\n".join(data))
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value


def encode(events: Iterable[Event]) -> Iterator[bytes]:
    """One frame of bytes per event, ready to be sent."""
    for event in events:
        head = b"event: %s\n" % event.name.encode() if event.name else b""
        data = b"".join(b"data: %s\n" % line for line in event.data.split(b"\n"))
        yield head + data + b"\n"
