"""Which URL a request stands for: the API's base URL, the path below it, and the query.

The same upstream has the same base whether it is reached through an alias of this proxy or intercepted on its way,
so that an entry recorded one way is a hit the other way.
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
"""Only the chat's route is the same API below any path: `/v1/threads/t/messages` is not Anthropic's, nor is
`/v1/fim/completions` OpenAI's."""
_VERSIONED_BASE = re.compile(r"(/(?:.*/)?(?:v[0-9]+\w*|deployments/[^/]+))(?=/)")


class _Paths(NamedTuple):
    """What the formats say about paths: which routes have aliases, where a base ends, and which paths stay."""

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
            re.compile(rf"(/(?:.*/)?(?:openai|openapi|anthropic|beta))(?=(?:{routes})$)"),
            _VERSIONED_BASE,
        ),
        kept=tuple({path for format in known for path in format.origin_paths}),
    )


def resolve(base: BaseUrl, path: str) -> str:
    """The path on the upstream's origin for a `path` (no query) asked of this proxy.

    Aliases, with a slash at their end or without, and any other path under `/v1` or `/api/v1`, lie below the base path;
    `/v1beta` (Gemini), `/openai/deployments` (Azure) and everything else keep their path.
    """
    paths = _paths(formats.FORMATS)
    if path.startswith(paths.kept):
        return path
    if alias := paths.aliased.fullmatch(path):
        return base.path + alias[1]
    if versioned := _VERSIONED.fullmatch(path):
        return base.path + (versioned[1] or "")
    return path


def split(origin: str, path: str, configured: BaseUrl) -> tuple[str, str]:
    """(base URL, path below it) of a request to an upstream.

    `configured` settles it for its own origin; elsewhere the base ends before the chat's route, or with what stands for
    an API of OpenAI's or Anthropic's kind (Google's `/v1beta/openai`, DeepSeek's `/beta`), else with the last version
    (`/v1`) or Azure deployment in the path, and is the origin alone where there is none.
    """
    paths = _paths(formats.FORMATS)
    if origin == configured.origin and path.startswith(configured.path + "/") and not path.startswith(paths.kept):
        return str(configured), path.removeprefix(configured.path)
    found = next(filter(None, (pattern.match(path) for pattern in paths.bases)), None)
    base = found[1] if found else ""
    return origin + base, path.removeprefix(base)


def query_of(text: str) -> Query:
    """The parameters of a query; bytes that are not UTF-8 stay distinct."""
    return tuple(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))
