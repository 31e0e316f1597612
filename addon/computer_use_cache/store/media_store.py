"""The pictures, and other long base64 texts, of the requests on disk: each once, as the bytes that it stands for.

Which requests hold one, `Requests` knows. All of it only explains and audits: a text that is gone is no harm.
"""

from __future__ import annotations

from pathlib import Path

from computer_use_cache.store import codec
from computer_use_cache.store.sqlite import Database


class Media:
    """The database in `folder`; `size_limit` is in bytes. Several processes may use it, and any thread. Every method
    raises StoreError."""

    def __init__(self, folder: Path, size_limit: int) -> None:
        """Opens or makes it, readable by its owner only."""
        self._database = Database(folder, size_limit=size_limit, eviction_policy="least-recently-stored")

    def add(self, digest: str, text: str) -> None:
        """Keep a base64 text under its digest, unless it is kept already or could not be given back as it is."""
        with self._database.use() as media:
            if digest not in media and (data := codec.encode_media(text)) is not None:
                media.set(digest, data)

    def get(self, digest: str) -> str | None:
        """The text of that digest."""
        with self._database.use() as media:
            data = media.get(digest)
        return codec.decode_media(data, digest) if isinstance(data, bytes) else None

    def remove(self, digest: str) -> None:
        """Forget the text of that digest."""
        with self._database.use() as media:
            media.delete(digest)

    def clear(self) -> None:
        """Forget all, in short pieces."""
        with self._database.use() as media:
            media.clear()

    def maintain(self) -> None:
        """Forget the oldest when it is too much, in short pieces."""
        with self._database.use() as media:
            media.cull()
        self._database.remove_orphans()

    def close(self) -> None:
        """Let go of the files."""
        with self._database.use() as media:
            media.close()
