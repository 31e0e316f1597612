"""The two requests that are compared to explain a miss."""

from __future__ import annotations

from dataclasses import dataclass, replace

from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys import normalizers
from computer_use_cache.models import RequestRecord


@dataclass(frozen=True, slots=True)
class Side:
    """One of two compared requests to an API: its record, and its body as it enters the key."""

    format: Format
    record: RequestRecord
    body: Json


def without_call_ids(side: Side) -> Side:
    """A request without the ids that every run gives its calls anew."""
    return replace(side, body=normalizers.without_call_ids(side.format, side.body))
