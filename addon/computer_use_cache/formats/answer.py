"""An answer, parsed once for everything that looks at it: judging, the search for credentials, prices, the call log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import deltas
from computer_use_cache.formats.base import Format, Json, load_object
from computer_use_cache.models import Event, Shape, Skip


@dataclass(frozen=True)
class Answer:
    """A complete answer of an API in one of its shapes. Every member but the first three raises FormatError if the body
    is malformed. What they return must not be changed."""

    format: Format
    shape: Shape
    body: bytes

    @cached_property
    def events(self) -> Sequence[Event]:
        """The events of a stream."""
        return self.format.split_stream(self.body, self.shape)

    @cached_property
    def joined(self) -> Sequence[Event]:
        """The events, with runs that only add to one text joined: fewer, and they say the same."""
        delta = self.format.text_delta
        return deltas.joined(self.events, delta) if delta else self.events

    @cached_property
    def whole(self) -> Json:
        """The answer as one JSON object."""
        match self.shape:
            case Shape.JSON:
                return load_object(self.body)
            case Shape.RAW:
                raise FormatError("the answer is not JSON", Skip.NOT_JSON)
        return self.format.assemble(self.joined)

    @cached_property
    def searchable(self) -> bytes:
        """The body as bytes in which every text of the answer can be found: AWS frames may hold base64."""
        return self.body if self.shape is not Shape.AWS else b"\n".join(event.data for event in self.events)
