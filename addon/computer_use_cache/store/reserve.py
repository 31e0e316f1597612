"""Disk space set aside for removing entries: SQLite writes before it frees, so a full disk would stop that too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_BYTES = 1024 * 1024
"""Several times what the transactions of `Database.clear` write before their space is returned."""


class Reserve:
    """A file that takes up space until it is needed. Several processes may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refill(self) -> None:
        """Set the space aside, if the disk has it."""
        with contextlib.suppress(OSError):
            if self._path.exists():
                return
            try:
                # Random bytes: a file system that compresses would keep no space for others.
                self._path.write_bytes(os.urandom(_BYTES))
                self._path.chmod(0o600)
            except OSError:
                self.release()

    def release(self) -> None:
        """Give the space back to the disk."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """The space is free to use inside the `with`, and set aside again afterwards."""
        self.release()
        try:
            yield
        finally:
            self.refill()
