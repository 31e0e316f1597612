"""Finds credentials by their place in a request's body. Whatever their form, they go upstream and nowhere else.

MCP servers, connectors and search tools get their credentials in the body, under names that differ between providers.
A member is recognised by the object that holds it and by the end of its name, in the spellings of all APIs. The
schemas of functions are never searched, because a parameter called `token` is part of the question. Neither is the
conversation: credentials in its texts are found by their form (detection.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from computer_use_cache.credentials.caller import digest, without_scheme
from computer_use_cache.credentials.randomness import looks_random
from computer_use_cache.formats import FORMATS, members, query_names, walking
from computer_use_cache.formats.base import Json

_HOLDERS = frozenset[str]().union(*(format.tool_members for format in FORMATS))
_ENVELOPES = frozenset(format.envelope for format in FORMATS if format.envelope)
_FUNCTION = frozenset(("type", "name", "description", "strict", "cache_control")) | members.SCHEMAS
"""Members of a function. Most tools have no others and need not be searched."""

_CREDENTIAL = re.compile(
    r"(?:^|_)(?:authorization|authorization_token|authentication|auth|auth_config|credentials?|headers|secrets?|token"
    r"|passw(?:or)?d|(?:api|access|account|private|secret|subscription)_?key(?:_string|_config)?|connection_string)$"
)
"""Names of members that are credentials or hold nothing else, with `_` between their words."""
_TOP_LEVEL = re.compile(
    r"(?:authorization|api_?key|(?:extra_)?headers|(?:access|auth)_token|(?:aws|azure|vertex)_.*(?:key|token|secret|credentials))$"
)
"""Gateways take the provider's credential in the body itself."""
_LONG_IDENTIFIER = 20
_URL = re.compile(r"https?://[^\s/]\S*")


class Parted(NamedTuple):
    """A body without the credentials in known places, and those credentials. Without any, it is the same object."""

    body: Json
    credentials: tuple[str, ...] = ()


def part(body: Json) -> Parted:
    """Remove the credentials in known places from a copy of a body."""
    taken: list[str] = []
    clean = _clean_body(body, taken)
    return Parted(clean, tuple(taken)) if taken else Parted(body)


def _clean_body(body: Json, taken: list[str]) -> Json:
    clean = {}
    for name, value in body.items():
        if name in _HOLDERS:
            clean[name] = _clean_holder(value, taken)
        elif name in _ENVELOPES and isinstance(value, dict):
            clean[name] = _clean_body(value, taken)
        elif not (_is_credential_at_top(name) and _take(value, taken)):
            clean[name] = value
    return clean


def _clean_holder(value: Any, taken: list[str]) -> Any:
    if isinstance(value, dict):
        if _FUNCTION.issuperset(value):
            return value
        return {
            name: item if name in members.SCHEMAS else _clean_holder(item, taken)
            for name, item in value.items()
            if name in members.SCHEMAS or not (_is_credential(name) and _take(item, taken))
        }
    if isinstance(value, list):
        return [_clean_holder(item, taken) for item in value]
    if isinstance(value, str) and value.startswith("http") and _URL.fullmatch(value):
        return _clean_url(value, taken)
    return value


def _take(value: Any, taken: list[str]) -> bool:
    """Add every text in `value` to the credentials; False if there are none, and `value` is not a credential."""
    found = list(filter(None, walking.texts(value)))
    taken += found
    return bool(found)


def names_credential(value: Any) -> bool:
    """Whether a member anywhere in an answer is a credential by its name."""
    match value:
        case dict():
            return any(
                (_is_credential(name) and _take(item, [])) or names_credential(item) for name, item in value.items()
            )
        case list():
            return any(map(names_credential, value))
    return False


def _clean_url(url: str, taken: list[str]) -> str:
    """`url` without credentials: a login, those in its query, and the long random texts in query and path.

    A long random text may also be an identifier, so its digest takes its place and remains part of the key.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    known = len(taken)
    login, _, host = parts.netloc.rpartition("@")
    if login:
        taken.append(login)
    query = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if value and query_names.is_credential(name):
            taken.append(value)
        else:
            query.append((name, _without_identifier(value, taken)))
    path = "/".join(_without_identifier(segment, taken) for segment in parts.path.split("/"))
    return url if len(taken) == known else parts._replace(netloc=host, path=path, query=urlencode(query)).geturl()


def _without_identifier(text: str, taken: list[str]) -> str:
    if len(text) < _LONG_IDENTIFIER or not looks_random(text):
        return text
    taken.append(text)
    return digest(text)


@functools.lru_cache(1024)
def _is_credential(name: str) -> bool:
    return _CREDENTIAL.search(query_names.snake(name)) is not None


@functools.lru_cache(1024)
def _is_credential_at_top(name: str) -> bool:
    return _TOP_LEVEL.match(query_names.snake(name)) is not None


_SHORTEST_TOLD = 6
"""Shorter values, such as `on` and `v1`, occur in any text."""


def repeated(credentials: Iterable[str], text: str) -> Iterator[tuple[int, int]]:
    """The places where a text repeats credentials of a request's body."""
    for credential in credentials:
        secret = without_scheme(credential)
        at = text.find(secret) if len(secret) >= _SHORTEST_TOLD else -1
        while at >= 0:
            yield at, at + len(secret)
            at = text.find(secret, at + len(secret))
