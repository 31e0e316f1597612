"""How diskcache writes keys and values: as text and raw bytes, never as pickles (CVE-2025-69872)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import diskcache


class RawDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Accepts text keys, and bytes or numbers as values. What diskcache would pickle is refused, on write and on read.

    A value's file is named after its key, so that a file without a row can be recognised.
    """

    def __init__(self, directory: str, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self._thread = threading.local()

    def put(self, key: str) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"keys are text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: bool) -> str:
        if not raw or type(key) is not str:
            return ""  # not written by this program: no entry has this key
        return key

    def store(self, value: Any, read: bool, key: str = "") -> Any:
        if type(value) not in (bytes, int, float):
            raise TypeError(f"values are bytes or numbers, not {type(value).__name__}")
        return super().store(value, read, key)

    def filename(self, key: str = "", value: Any = None) -> tuple[str, str]:
        name = os.path.join(key[:2], key[2:4], f"{key}-{os.urandom(8).hex()}.val")
        return name, os.path.join(self._directory, name)

    def remove(self, file_path: str) -> None:
        postponed: list[str] | None = getattr(self._thread, "postponed", None)
        if postponed is None:
            super().remove(file_path)
        else:
            postponed.append(file_path)

    @contextlib.contextmanager
    def removing_last(self) -> Iterator[None]:
        """Postpones what this thread removes to the end of the `with`. If the block fails, the files stay: the rollback
        of its transaction brings their rows back."""
        postponed = self._thread.postponed = list[str]()
        try:
            yield
        finally:
            self._thread.postponed = None
        for file_path in postponed:
            super().remove(file_path)

    def _write(self, full_path: str, iterator: Iterable[bytes], mode: str, encoding: str | None = None) -> Any:
        try:
            size = super()._write(full_path, iterator, mode, encoding)
            os.chmod(full_path, 0o600)
        except OSError:  # a full disk would be left with half a file
            with contextlib.suppress(OSError):
                os.remove(full_path)
            raise
        return size

    def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
        if mode == diskcache.core.MODE_RAW:
            return super().fetch(mode, filename, value, read)
        if mode == diskcache.core.MODE_BINARY and type(filename) is str and "\0" not in filename:
            return super().fetch(mode, filename, value, read)
        return None
