"""Screenshots and other long base64 texts of recorded requests, each stored once, as the bytes it encodes.

`Requests` knows which requests refer to one. They only serve to explain and audit, so losing one does no harm.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from computer_use_cache.store import codec
from computer_use_cache.store.sqlite import Database


class Media:
    """The database in `folder`; `size_limit` is in bytes. Several processes and any thread may use it. Every method
    raises StoreError."""

    def __init__(self, folder: Path, size_limit: int) -> None:
        """Opens or creates it, readable by its owner only."""
        self._database = Database(folder, size_limit=size_limit, eviction_policy="least-recently-stored")

    def add(self, digest: str, text: str) -> None:
        """Store a base64 text under its digest, unless it is there already or could not be restored exactly."""
        with self._database.use() as media:
            if digest not in media and (data := codec.encode_media(text)) is not None:
                media.set(digest, data)

    def get(self, digest: str) -> str | None:
        """The text with that digest."""
        with self._database.use() as media:
            data = media.get(digest)
        return codec.decode_media(data, digest) if isinstance(data, bytes) else None

    def remove(self, digests: Sequence[str]) -> None:
        """Remove the texts with these digests."""
        for batch in itertools.batched(digests, self._database.rows_at_once):
            self._database.delete(batch)

    def clear(self) -> None:
        """Remove everything, in short transactions."""
        self._database.clear()

    def maintain(self) -> None:
        """Remove the oldest texts while they are over the limit, in short transactions."""
        self._database.cull()
        self._database.remove_orphans()

    def interrupt(self) -> None:
        """As `Database.interrupt`."""
        self._database.interrupt()

    def close(self) -> None:
        """Release the files."""
        with self._database.use() as media:
            media.close()
