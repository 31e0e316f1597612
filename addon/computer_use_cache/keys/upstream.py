"""Which upstream URL a request means: the API's base URL, the path below it, and the query.

An upstream has the same base URL whether the client used an alias of this proxy or was intercepted, so that an entry
recorded one way is a hit the other way.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from computer_use_cache import formats
from computer_use_cache.formats.base import Format
from computer_use_cache.models import Query
from computer_use_cache.setting_values import BaseUrl

_VERSIONED = re.compile(r"(?:/api)?/v1(/.*)?")
_BASE_BEFORE_CHAT = re.compile(r"(/.+)(?=/chat/completions$)")
"""Only `/chat/completions` is unambiguous below any path: `/v1/threads/t/messages` is not Anthropic's route, and
`/v1/fim/completions` is not OpenAI's."""
_MARKS = "openai|openapi|anthropic|beta|codex|serving-endpoints|inference|models"
"""Segments after which an API of OpenAI's or Anthropic's kind begins, though no version follows them."""
_VERSIONED_BASE = re.compile(r"(/(?:.*/)?(?:v[0-9]+\w*|deployments/[^/]+))(?=/)")


class _Paths(NamedTuple):
    """What the formats say about paths: which routes have aliases, where a base URL ends, and which paths stay."""

    aliased: re.Pattern[str]
    bases: tuple[re.Pattern[str], ...]
    kept: tuple[str, ...]


@cache
def _paths(known: tuple[Format, ...]) -> _Paths:
    routes = "|".join(re.escape(route) for format in known for route in format.routes)
    return _Paths(
        aliased=re.compile(rf"(?:/api/v1|/v1|/api)?({routes}|/models)/?"),
        bases=(
            _BASE_BEFORE_CHAT,
            re.compile(rf"(/(?:.*/)?(?:{_MARKS}))(?=(?:{routes})$)"),
            _VERSIONED_BASE,
        ),
        kept=tuple({path for format in known for path in format.origin_paths}),
    )


def resolve(base: BaseUrl, path: str) -> str:
    """Map a path (without query) on this proxy to the path on the upstream's origin.

    Aliases, with or without a trailing slash, and all other paths under `/v1` or `/api/v1` move below the base path.
    Paths that lie below it already, `/v1beta` (Gemini), `/openai/deployments` (Azure) and everything else stay where
    they are. If the base is an origin alone, every path stays.
    """
    paths = _paths(formats.FORMATS)
    if not base.path or path.startswith(paths.kept):
        return path
    if alias := paths.aliased.fullmatch(path):
        return base.path + alias[1]
    if path.startswith(base.path + "/"):
        return path
    if versioned := _VERSIONED.fullmatch(path):
        return base.path + (versioned[1] or "")
    return path


def split(origin: str, path: str, configured: BaseUrl) -> tuple[str, str]:
    """Split a request's URL into the API's base URL and the path below it.

    The base ends before `/chat/completions`, or after a segment that marks an OpenAI- or Anthropic-compatible API
    (Google's `/v1beta/openai`, DeepSeek's `/beta`), or after the last version (`/v1`) or Azure deployment. Without any
    of these it is the origin. The `configured` base replaces one that is shorter.
    """
    paths = _paths(formats.FORMATS)
    found = next(filter(None, (pattern.match(path) for pattern in paths.bases)), None)
    base = found[1] if found else ""
    is_below = origin == configured.origin and path.startswith(configured.path + "/")
    if is_below and len(configured.path) > len(base) and not path.startswith(paths.kept):
        base = configured.path
    return origin + base, path.removeprefix(base)


def query_of(text: str) -> Query:
    """The decoded parameters of a query; bytes that are not UTF-8 stay distinguishable."""
    return tuple(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))
