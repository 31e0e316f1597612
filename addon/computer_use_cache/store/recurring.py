"""Which keys come again: what is asked for once only, as most of a long run's steps are, is not worth memory."""

from __future__ import annotations

_MOST = 65_536


class Recurring:
    """The keys seen lately; quick, and safe from any thread."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def comes_again(self, key: str) -> bool:
        """Whether a key was seen before; from now on it was."""
        if key in self._seen:
            return True
        if len(self._seen) >= _MOST:
            self._seen = set()
        self._seen.add(key)
        return False
