"""Which upstream URL a request means: the API's base URL, the path below it, and the query.

An upstream has the same base URL whether the client used an alias of this proxy or was intercepted, so that an entry
recorded one way is a hit the other way.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from computer_use_cache.models import Query
from computer_use_cache.setting_values import BaseUrl

_ALIASED = re.compile(
    r"(?:/api/v1|/v1|/api)?(/(?:chat/completions|completions|embeddings|responses|messages|models))/?"
)
_VERSIONED = re.compile(r"(?:/api)?/v1(/.*)?")
_KEPT = ("/v1beta/", "/openai/deployments/")
_BASES = (
    re.compile(r"(/.+)(?=/chat/completions$)"),
    re.compile(r"(/(?:.*/)?(?:openai|openapi|anthropic|beta))(?=/(?:completions|embeddings|responses|messages)$)"),
    re.compile(r"(/(?:.*/)?(?:v[0-9]+\w*|deployments/[^/]+))(?=/)"),
)
"""Where a base URL ends. Only `/chat/completions` is unambiguous below any path: `/v1/threads/t/messages` is not
Anthropic's route, and `/v1/fim/completions` is not OpenAI's."""


def resolve(base: BaseUrl, path: str) -> str:
    """Map a path (without query) on this proxy to the path on the upstream's origin.

    Aliases, with or without a trailing slash, and all other paths under `/v1` or `/api/v1` move below the base path;
    `/v1beta` (Gemini), `/openai/deployments` (Azure) and everything else stay where they are.
    """
    if path.startswith(_KEPT):
        return path
    if alias := _ALIASED.fullmatch(path):
        return base.path + alias[1]
    if versioned := _VERSIONED.fullmatch(path):
        return base.path + (versioned[1] or "")
    return path


def split(origin: str, path: str, configured: BaseUrl) -> tuple[str, str]:
    """Split a request's URL into the API's base URL and the path below it.

    On the `configured` origin the configured base decides. Elsewhere the base ends before `/chat/completions`, or after
    a segment that marks an OpenAI- or Anthropic-compatible API (Google's `/v1beta/openai`, DeepSeek's `/beta`), or
    after the last version (`/v1`) or Azure deployment. Without any of these the base is the origin.
    """
    if origin == configured.origin and path.startswith(configured.path + "/") and not path.startswith(_KEPT):
        return str(configured), path.removeprefix(configured.path)
    found = next(filter(None, (pattern.match(path) for pattern in _BASES)), None)
    base = found[1] if found else ""
    return origin + base, path.removeprefix(base)


def query_of(text: str) -> Query:
    """The decoded parameters of a query; bytes that are not UTF-8 stay distinguishable."""
    return tuple(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))
