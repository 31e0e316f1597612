"""Entries and records made from a number, for tests of stores."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec.structs import replace

from computer_use_cache.models import Entry, RequestRecord, Shape
from computer_use_cache.store.base import NewEntry, Store

LIMIT = 2**25
"""The size limit of a store where none is given."""

type Opener = Callable[..., Store]


def entry(number: int, **changes: object) -> Entry:
    made = Entry(
        key=f"{number:064x}",
        format="chat_completions",
        shape=Shape.JSON,
        model=f"model-{number % 2}",
        namespace="",
        headers=(("content-type", "application/json"),),
        body=b"%d" % number,
        created_at=1_700_000_000.0 + number,
        expires_at=None,
        seconds=1.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def large(number: int, size: int = 100_000) -> Entry:
    return entry(number, body=random.Random(number).randbytes(size))


def record(number: int, *parts: int) -> RequestRecord:
    return RequestRecord("https://api.test/v1", "/chat/completions", "", (), b'{"n": %d}' % number, parts)


def put(store: Store, entry: Entry, keep_seconds: float | None, record: RequestRecord | None = None) -> bool:
    """Store one entry for `keep_seconds` (None: forever); True if it replaced another."""
    return entry.key in store.put_all([NewEntry(entry, keep_seconds, record)])
