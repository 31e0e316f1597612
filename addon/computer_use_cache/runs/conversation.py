"""What tells one conversation from another: its system prompt and its first message."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

from computer_use_cache.formats import walking
from computer_use_cache.formats.base import Format, Json, dump
from computer_use_cache.rebinding import Bindings, template_of
from computer_use_cache.runs.cleaning import without_credentials

_ANSWERING_ROLES = ("assistant", "model", "CHATBOT")
_COUNTED_CHARS = 65_536
"""Of each text, so that a screenshot is not hashed as a whole."""
_TITLE_CHARS = 60
_SEARCHED_CHARS = 2000
"""Of a text that a title is made from. A title is cut after its credentials are hidden, as half of one is not found."""


class Head(NamedTuple):
    """The beginning of a conversation, up to its first answer, as it stands in a request: cheap to take out, and
    without most of the request. The conversation `begins` if that is all there is of it."""

    format: Format
    body: Json
    begins: bool


class Opening(NamedTuple):
    """A beginning by its digest, and by the words that a person knows it by."""

    digest: str
    title: str


def head_of(format: Format, body: Json) -> Head | None:
    """The head of a request's conversation; None if its API has none, or it cannot be read. Quick."""
    request = format.opened_request(body)
    said = request.get(format.conversation)
    if isinstance(said, str) and format.call_id_places:
        said = [{"content": said}]  # OpenAI's Responses take a text in place of a conversation
    if not (isinstance(said, list) and said and isinstance(said[0], dict)):
        return None
    first = next((at for at, item in enumerate(said) if _is_answer(item)), len(said))
    head = {name: request[name] for name in format.instructions if name in request}
    return Head(format, head | {format.conversation: said[:first]}, first == len(said))


def _is_answer(item: Any) -> bool:
    """Whether an item of a conversation comes from the model. Tool calls of OpenAI's Responses have no role."""
    if not isinstance(item, dict):
        return False
    kind = str(item.get("type"))
    return item.get("role") in _ANSWERING_ROLES or ("role" not in item and kind.endswith(("_call", "reasoning")))


def digest_of(head: Head) -> bytes:
    """A digest of a head as it stands."""
    digest = blake2b(head.format.name.encode(), digest_size=16)
    for text in walking.texts(head.body):
        digest.update(b"\0" + text[:_COUNTED_CHARS].encode("utf-8", "surrogatepass"))
    return digest.digest()


def opening_of(head: Head) -> Opening:
    """The opening of a head, which is the same for two requests of one conversation if only the values in it move that
    rebinding knows, such as the time. Takes milliseconds for a long system prompt."""
    try:
        template = template_of(head.format, head.body, Bindings({})).body
    except RecursionError:
        template = {}
    digest = blake2b(head.format.name.encode() + b"\0" + dump(template), digest_size=16)
    return Opening(digest.hexdigest(), _title(head))


def _title(head: Head) -> str:
    """The beginning of the first message that is not the system's."""
    items = head.body[head.format.conversation]
    asked = next((item for item in items if item.get("role") not in ("system", "developer")), None)
    words = without_credentials(" ".join(chain.from_iterable(text.split() for text in _shown(asked))))
    return words if len(words) <= _TITLE_CHARS else words[: _TITLE_CHARS - 1] + "\u2026"


def _shown(item: Any) -> Iterator[str]:
    """The texts of a message, without names of types and roles and without pictures."""
    match item:
        case str():
            yield item[:_SEARCHED_CHARS]
        case list():
            for each in item:
                yield from _shown(each)
        case dict():
            for name in ("text", "content", "parts", "message"):
                yield from _shown(item.get(name))
