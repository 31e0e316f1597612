"""Finds the credentials that a request holds in its texts, so that `<secret n>` can stand in their place.

A conversation grows by a few texts a turn, so the search remembers the texts it has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from computer_use_cache.credentials import detection, places
from computer_use_cache.store.memory import BoundedMemory

type Spans = tuple[tuple[int, int], ...]

_MOST_TEXTS = 32_768


class Finder:
    """Finds credentials by their form or label, and those of a request's tools wherever else they stand."""

    def __init__(self) -> None:
        self._known = BoundedMemory[bytes, Spans](_MOST_TEXTS)

    def searching_for(self, credentials: Sequence[str]) -> Callable[[str], Spans]:
        """A search that finds these credentials too. Slow for a text that is new: call it off the event loop."""
        return lambda text: _united((*self._detected(text), *places.repeated(credentials, text)))

    def _detected(self, text: str) -> Spans:
        if len(text) < detection.SHORTEST:
            return ()
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        spans = self._known.get(digest)
        if spans is None:
            spans = tuple((secret.start, secret.end) for secret in detection.find_in_text(text))
            self._known.put(digest, spans)
        return spans


def _united(spans: Iterable[tuple[int, int]]) -> Spans:
    """The spans in order; those that overlap become one."""
    united: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if united and start < united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((start, end))
    return tuple(united)
