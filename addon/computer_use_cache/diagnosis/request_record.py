"""The request that is kept beside an entry: what was sent to the provider, with its pictures stored separately.

A conversation repeats its screenshots in every turn. Each long base64 text is therefore stored once, under its digest,
and requests hold only the digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.policy import Controls
from computer_use_cache.diagnosis import similarity
from computer_use_cache.formats import placeholder, walking
from computer_use_cache.formats.base import Json, load_object
from computer_use_cache.keys import canonical_json, key
from computer_use_cache.models import RequestRecord
from computer_use_cache.screens.picture import Picture, picture_of

_LONG = 1024
"""Shorter base64 texts stay in the request."""
_OPENING = 300
"""A text is located by its first bytes, because searching for a megabyte is slower than comparing one."""
_PLACEHOLDER_BYTES = re.compile(placeholder.PATTERN.pattern.encode())


class Taken(NamedTuple):
    """A long base64 text that was replaced."""

    picture: Picture

    @property
    def before(self) -> str:
        """The start of its string: `data:…;base64,` or ""."""
        return self.picture.before

    @property
    def digest(self) -> str:
        """The digest of the base64."""
        return self.picture.digest

    @property
    def text(self) -> str:
        """The base64, copied."""
        return self.picture.data

    @property
    def name(self) -> str:
        """The placeholder that replaces the base64."""
        return placeholder.make(self.digest, len(self.picture.text) - len(self.before))


def record(cache: Cache, plan: Plan) -> RequestRecord:
    """The record of a prepared request that has a key. Slow: call it off the event loop. Raises FormatError."""
    assert isinstance(plan.verdict, Controls), "a bypass is not recorded"
    request, controls = plan.route.request, plan.verdict
    taken: list[Taken] = []
    body = without_media(plan.body, taken)
    is_kept_whole = plan.is_whole and not plan.credentials and not plan.secrets
    group = (cache.keying.scope(request), controls.namespace, str(plan.nth or controls.sample or 1), plan.format.name)
    return RequestRecord(
        upstream=request.upstream,
        path=request.path,
        query=key.relevant_query(request.query),
        headers=key.relevant_headers(request.headers),
        body=(is_kept_whole and bytes_without_media(plan.forward, taken))
        or canonical_json.write(body, lambda: without_media(_kept(cache, plan), [])),
        parts=similarity.parts(plan.format, group, cache.keying.key_body(plan.format, body)),
        media={each.digest: each.text for each in taken},
    )


def _kept(cache: Cache, plan: Plan) -> Json:
    """`plan.body` with Python's own numbers."""
    return cache.concealed_body(plan.format, load_object(plan.forward))


def without_media(value: Any, taken: list[Taken]) -> Any:
    """`value` (JSON) with placeholders for long base64 texts, which are appended to `taken` in order. It is copied only
    if there are any."""
    if not any(len(text) > _LONG and _base64(text) for text in walking.texts(value)):
        return value

    def named(text: str) -> str:
        if len(text) <= _LONG or (found := _base64(text)) is None:
            return text
        taken.append(found)
        return found.before + found.name

    return walking.map_texts(value, named)


def _base64(text: str) -> Taken | None:
    """The data of a text that is base64, alone or in a data URL.

    Written without a regular expression, which would hold the interpreter for milliseconds on a screenshot.
    """
    picture = picture_of(text)
    length = len(text) - len(picture.before)
    if length < _LONG or not picture.is_base64 or length - text[-2:].count("=") < _LONG:
        return None
    return Taken(picture)


def bytes_without_media(body: bytes, taken: Iterable[Taken]) -> bytes | None:
    """Replace the texts in `taken`, in order, in the JSON that was sent; None if one of them is escaped there."""
    pieces, end = [], 0
    for each in taken:
        whole = each.picture.written
        opening = whole[:_OPENING]
        at = body.find(opening, end) if whole else -1
        while at >= 0 and not body.startswith(whole, at):
            at = body.find(opening, at + 1)
        if at < 0:
            return None
        pieces += [body[end:at], orjson.dumps(each.before + each.name)]
        end = at + len(whole)
    return b"".join([*pieces, body[end:]])


def digests(body: bytes) -> set[str]:
    """The digests of all placeholders in a recorded body."""
    return {found[1].decode() for found in _PLACEHOLDER_BYTES.finditer(body)}


def bytes_with_media(body: bytes, find: Callable[[str], str | None]) -> bytes | None:
    """The body that was sent: `find` returns the text of a digest. None if one text is no longer stored."""
    texts = {digest: find(digest) for digest in digests(body)}
    if None in texts.values():
        return None
    return _PLACEHOLDER_BYTES.sub(lambda found: (texts[found[1].decode()] or "").encode(), body)


def with_media(value: Any, text_of: Callable[[str], str]) -> Any:
    """A copy of a recorded `value` (JSON) with `text_of(digest)` in place of each placeholder."""
    return walking.map_texts(value, lambda text: placeholder.PATTERN.sub(lambda found: text_of(found[1]), text))
