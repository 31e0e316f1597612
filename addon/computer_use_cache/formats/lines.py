"""Streams of one JSON document per line (NDJSON), as Ollama and the first version of Cohere's API send them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from computer_use_cache.models import Event


def parse(body: bytes) -> Iterator[Event]:
    """An event per line; blank lines are skipped. Lines end at LF or CRLF."""
    for line in body.split(b"\n"):
        if data := line.strip():
            yield Event("", data)


def encode(events: Iterable[Event]) -> Iterator[bytes]:
    """One line per event."""
    for event in events:
        yield event.data + b"\n"
