"""What leaves the house: texts without credentials, and without what the user's patterns match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from computer_use_cache.formats import walking
from computer_use_cache.formats.item import Item
from computer_use_cache.runs.cleaning import without_credentials

_REDACTED = "<redacted>"


class Cleaner:
    """Cleans texts, each once: a conversation repeats them in every step."""

    def __init__(self, patterns: Sequence[re.Pattern[str]] = ()) -> None:
        self._patterns = patterns
        self._known: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text as the page shows it."""
        cleaned = self._known.get(text)
        if cleaned is None:
            cleaned = without_credentials(text)
            for pattern in self._patterns:
                cleaned = pattern.sub(_REDACTED, cleaned)
            self._known[text] = cleaned
        return cleaned

    def item(self, item: Item) -> Item:
        """The item as the page shows it; data of media stays as it is."""
        return replace(
            item,
            role=self.text(item.role),
            text=self.text(item.text),
            name=self.text(item.name),
            media=item.media and replace(item.media, type=self.text(item.media.type), url=self.text(item.media.url)),
            arguments=walking.map_texts(item.arguments, self.text),
        )

    def items(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """All of them."""
        return tuple(map(self.item, items))
