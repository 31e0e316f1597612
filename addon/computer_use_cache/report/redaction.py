"""Texts as a page shows them: without credentials, and without what the user's patterns match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from computer_use_cache.credentials.redaction import redacted
from computer_use_cache.formats import walking
from computer_use_cache.formats.item import Item

_REDACTED = "<redacted>"


class Redactor:
    """Redacts each text once: a conversation repeats its texts in every step."""

    def __init__(self, patterns: Sequence[re.Pattern[str]] = ()) -> None:
        self._patterns = patterns
        self._known: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text as the page shows it."""
        result = self._known.get(text)
        if result is None:
            result = redacted(text)
            for pattern in self._patterns:
                result = pattern.sub(_REDACTED, result)
            self._known[text] = result
        return result

    def item(self, item: Item) -> Item:
        """The item as the page shows it; the data of media is not changed."""
        return replace(
            item,
            role=self.text(item.role),
            text=self.text(item.text),
            name=self.text(item.name),
            media=item.media and replace(item.media, type=self.text(item.media.type), url=self.text(item.media.url)),
            arguments=walking.map_texts(item.arguments, self.text),
        )

    def items(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """The items as the page shows them."""
        return tuple(map(self.item, items))
