"""Calls whose answer has one shape, which the request alone decides: it is replayed byte for byte.

A subclass names its routes and the members of a good answer. `stream` and the like are part of the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import findings
from computer_use_cache.formats.base import Format, Json, UsageFlavor, load_objects
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.openai import OpenAI
from computer_use_cache.models import Event, Skip


class OneShape(Format):
    """The base of such calls; each is a subclass in a few lines."""

    key_excluded = frozenset({"user", "safety_identifier", "cache_control", "metadata"})
    usage_flavor = UsageFlavor("openai", "responses")
    answers_in_text = False
    held: ClassVar[tuple[str, ...]]
    """A good answer has at least one of these members."""
    last_events: ClassVar[tuple[str, ...]] = ()
    """The types of the events that end a stream."""

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        found = next((answer[name] for name in self.held if answer.get(name) not in (None, [], {})), None)
        if found is None:
            raise FormatError(f"the answer has none of {', '.join(self.held)}")
        for item in found if isinstance(found, list) else ():
            if isinstance(item, dict):
                findings.refuse_error(item, "answer")
        return Findings(is_silent=isinstance(found, str) and not found.strip())

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        last = None
        for event in load_objects(events):
            findings.refuse_error(event, "stream")
            last = event.get("type")
            if last == "error":
                raise FormatError("there is an error in the stream", Skip.ERROR)
        if last not in self.last_events:
            raise FormatError("the stream never ended", Skip.UNFINISHED)
        return Findings()

    def check_bytes(self, answer: bytes, *, ended: bool) -> Findings:
        if not ended:
            raise FormatError("nothing marks the end of the answer", Skip.UNFINISHED)
        return Findings(is_silent=not answer.strip())

    def assemble(self, events: Sequence[Event]) -> Json:
        """The last event, which holds the usage."""
        return next(reversed(load_objects(events)), {})

    def explode(self, answer: Json, *, with_usage: bool) -> NoReturn:
        raise FormatError(f"{self.name} has no other shape")


class Moderations(OpenAI, OneShape):
    """`/moderations` of OpenAI and Mistral."""

    name = "moderations"
    operation = "moderation"
    routes = ("/moderations",)
    conversation = "input"
    answered = "results"
    held = ("results",)


class Rerank(OpenAI, OneShape):
    """`/rerank` of Cohere (both versions), Jina and Voyage."""

    name = "rerank"
    operation = "rerank"
    routes = ("/rerank",)
    conversation = "documents"
    answered = "results"
    held = ("results", "data")
    volatile_members = OneShape.volatile_members | {"meta"}


class VoyageEmbeddings(OpenAI, OneShape):
    """Voyage's embeddings of pictures."""

    name = "multimodal_embeddings"
    operation = "embeddings"
    routes = ("/multimodalembeddings",)
    conversation = "inputs"
    answered = "data"
    held = ("data",)


class ContextualizedEmbeddings(OpenAI, OneShape):
    """Voyage's embeddings of the parts of a document."""

    name = "contextualized_embeddings"
    operation = "embeddings"
    routes = ("/contextualizedembeddings",)
    conversation = "inputs"
    answered = "data"
    held = ("data",)
