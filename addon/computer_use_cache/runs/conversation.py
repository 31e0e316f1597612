"""What tells one conversation from another: its system prompt and its first message."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from computer_use_cache.credentials.redaction import redacted
from computer_use_cache.formats import items, walking
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.formats.item import Kind
from computer_use_cache.rebinding import Bindings, template_of

_COUNTED_CHARS = 65_536
"""At most this much of each text is hashed, so that a screenshot is not hashed whole."""
_TITLE_CHARS = 60
_SEARCHED_CHARS = 2000
"""How much of a text a title is made from. It is shortened after redaction: half a credential is not recognised."""


class Head(msgspec.Struct, frozen=True, dict=True):
    """The beginning of a conversation, up to its first answer, as a request holds it. Cheap to extract, and small. The
    conversation `begins` if the request holds no more of it."""

    format: Format
    body: Json
    begins: bool

    @cached_property
    def digest(self) -> bytes:
        """A digest of its exact texts. It is computed once, although a call may wait through several flushes."""
        return _hashed(self.format, self.body).digest()

    @property
    def is_hashed(self) -> bool:
        """Whether the digest has been computed."""
        return "digest" in self.__dict__

    @cached_property
    def size(self) -> int:
        """How many characters the digest covers."""
        return sum(min(len(text), _COUNTED_CHARS) for text in walking.texts(self.body))


class Opening(NamedTuple):
    """The beginning of a conversation: a digest, and a title for people."""

    digest: str
    title: str


def head_of(format: Format, body: Json) -> Head | None:
    """The head of a request's conversation; None if its API has none, or it cannot be read. Quick."""
    request = format.opened_request(body)
    said = format.messages_of(request)
    if not (said and isinstance(said[0], dict)):
        return None
    first = 0
    while first < len(said) and not (isinstance(said[first], dict) and format.is_answer(said[first])):
        first += 1
    head = {name: request[name] for name in format.instructions if name in request}
    head[format.conversation] = said[:first]
    return Head(format, head, first == len(said))


def opening_of(head: Head) -> Opening:
    """The opening of a head. Two heads have the same one if they differ only in values that rebinding recognises, such
    as the time. Takes milliseconds for a long system prompt."""
    try:
        template = template_of(head.format, head.body, Bindings({})).body
    except RecursionError:
        template = {}
    return Opening(_hashed(head.format, template).hexdigest(), _title(head))


def _hashed(format: Format, body: Json) -> blake2b:
    """The hash of all texts of a body, up to `_COUNTED_CHARS` of each."""
    digest = blake2b(format.name.encode(), digest_size=16)
    for text in walking.texts(body):
        digest.update(b"\0" + text[:_COUNTED_CHARS].encode("utf-8", "surrogatepass"))
    return digest


def _title(head: Head) -> str:
    """The beginning of the first message that is not the system's, without its pictures."""
    format, messages = head.format, head.body[head.format.conversation]
    asked = [one for one in messages if not (isinstance(one, dict) and format.is_instruction(one))]
    said = (
        item.text[:_SEARCHED_CHARS]
        for item in items.of_request(format, {format.conversation: asked[:1]})
        if item.kind is Kind.TEXT
    )
    words = redacted(" ".join(" ".join(said).split()))
    return words if len(words) <= _TITLE_CHARS else words[: _TITLE_CHARS - 1] + "\u2026"
