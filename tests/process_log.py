"""The lines that a process prints, for tests that wait for one of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import IO


class ProcessLog(list[str]):
    """The lines so far, `seen` first. `follow` reads the rest in a thread of its own."""

    def __init__(self, seen: Iterable[str] = ()) -> None:
        super().__init__(seen)
        self._changed = threading.Condition()
        self._has_ended = False

    def follow(self, stream: IO[str]) -> threading.Thread:
        """Read the stream to its end; the thread that does."""
        reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        reader.start()
        return reader

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self.append(line)
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Return once `times` lines contain the text; AssertionError if the process ends before."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or self._count(text) >= times)
            assert self._count(text) >= times, "the proxy ended:\n" + "".join(self)

    def _count(self, text: str) -> int:
        return sum(text in line for line in self)
