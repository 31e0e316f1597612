"""Conversations with credentials. Stored requests and answers have `<secret n>` in their place; served answers have the
caller's own credentials.

A credential is never a value of a template. Requests are concealed before their key is made, so the key does not depend
on which credential it was, but on its kind: a token for another service makes another question.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys.canonical_json import canonical
from computer_use_cache.models import Event
from computer_use_cache.rebinding.answers import Rebound, rewritten
from computer_use_cache.rebinding.kinds import Kinds
from computer_use_cache.rebinding.moves import SPECIAL, Move, Moves
from computer_use_cache.rebinding.refusal import Cause, Refusal
from computer_use_cache.rebinding.template import Value

type Finder = Callable[[str], Sequence[tuple[int, int, str]]]
"""Where credentials are in a text: start, end and kind of each, in order, none inside another."""

_MARK = re.compile(r"<secret \d+[^>]{0,20}>")
_SHORTEST = 6
_WINDOW, _STRIDE = 12, 4
"""An answer must not hold any stretch of a credential that is `_WINDOW` characters long and begins at a multiple of
`_STRIDE`."""


@dataclass(frozen=True, slots=True)
class Concealed:
    """A request's body without its credentials, the credentials in the order of their numbers, and their kinds. The
    credentials are for the present answer only: never store, log or show them."""

    body: Json
    secrets: tuple[str, ...] = field(repr=False)
    kinds: tuple[str, ...] = ()


def conceal(body: Json, find: Finder) -> Concealed | Refusal:
    """The body with `<secret n>` for each credential; the body itself if it holds no credential."""
    if not _holds_secret(body, find):
        return Concealed(body, ())
    found: dict[str, tuple[int, str]] = {}
    concealed = _concealed(body, find, found)
    if _MARK.search(canonical(body).decode("utf-8", "surrogatepass")):
        return Refusal(Cause.MARKED)
    return Concealed(concealed, tuple(found), tuple(kind for _, kind in found.values()))


def conceal_answer(
    format: Format, answer: Json | Sequence[Event], secrets: Sequence[str], *, with_usage: bool = True
) -> Rebound | Refusal:
    """An answer fit to be stored. Refused if a part or another form of a credential would be left in it."""
    texts = {
        text.encode("utf-8", "surrogatepass"): Move("secret", mark.encode())
        for number, secret in enumerate(secrets, 1)
        for text, mark in _marks(number, secret)
    }
    traces = [trace for secret in secrets for trace in _traces(secret) if len(trace) >= _SHORTEST]

    def judge(rests: Sequence[bytes]) -> Refusal | None:
        together = b"".join(rests)
        return Refusal(Cause.OTHER_FORM) if any(trace in together for trace in traces) else None

    return rewritten(format, answer, _moves(texts), judge=judge, with_usage=with_usage)


def reveal_answer(
    format: Format, answer: Json | Sequence[Event], secrets: Sequence[str], *, with_usage: bool = True
) -> Rebound | Refusal:
    """A stored answer with the credentials of the present request."""
    texts = {
        mark.encode(): Move("secret", text.encode("utf-8", "surrogatepass"))
        for number, secret in enumerate(secrets, 1)
        for text, mark in _marks(number, secret)
    }
    return rewritten(format, answer, _moves(texts), with_usage=with_usage)


def _moves(texts: dict[bytes, Move]) -> Moves:
    return Moves(Kinds(), texts=texts, inside_words=True, pairs=tuple((Value("secret", ""), "") for _ in texts))


def _holds_secret(body: Json, find: Finder) -> bool:
    """Whether any text or member's name holds a credential. Nearly all requests hold none, and are not copied."""
    pending: list[Any] = [body]
    while pending:
        match pending.pop():
            case str() as text:
                if find(text):
                    return True
            case list() as items:
                pending += items
            case dict() as members:
                pending += members
                pending += members.values()
    return False


def _concealed(value: Any, find: Finder, found: dict[str, tuple[int, str]]) -> Any:
    match value:
        case str():
            return _concealed_text(value, find, found)
        case list():
            return [_concealed(item, find, found) for item in value]
        case dict():
            # In the order of names, because numbers must not depend on the order of members.
            return {_concealed_text(name, find, found): _concealed(value[name], find, found) for name in sorted(value)}
    return value


def _concealed_text(text: str, find: Finder, found: dict[str, tuple[int, str]]) -> str:
    parts, at = [], 0
    for start, end, kind in find(text):
        secret = text[start:end]
        number, _ = found.setdefault(secret, (len(found) + 1, kind))
        parts += [text[at:start], next(_marks(number, secret))[1]]
        at = end
    return "".join((*parts, text[at:])) if parts else text


def _marks(number: int, secret: str) -> Iterator[tuple[str, str]]:
    """How a credential is written in texts, in JSON inside them and in JSON inside that, and what stands for each."""
    if not SPECIAL.search(secret):
        yield secret, f"<secret {number}>"
        return
    for place in ("text", "JSON", "JSON in JSON"):
        yield secret, f"<secret {number} in {place}>"
        secret = json.dumps(secret, ensure_ascii=False)[1:-1]


def _traces(secret: str) -> Iterator[bytes]:
    """Stretches of a credential, and the forms in which it may have been written: base64, hex, in a URL."""
    data = secret.encode("utf-8", "surrogatepass")
    yield from (data[at : at + _WINDOW] for at in range(0, max(1, len(data) - _WINDOW + 1), _STRIDE))
    yield from (data.hex().encode(), data.hex().upper().encode(), data[::-1])
    yield from (form.encode() for form in (quote(data, safe=""), quote_plus(data)))
    for before in range(3):  # base64 of a longer text that holds it, wherever in that it stands
        encoded = base64.b64encode(b"\0" * before + data)
        inner = encoded[(0, 2, 3)[before] : len(encoded) - 4 if len(encoded) > 8 else None]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")
