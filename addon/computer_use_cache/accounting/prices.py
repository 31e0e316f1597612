"""What an answer cost: its usage as its API spells it, priced by genai-prices. What is not known is not guessed.

The prices are those that the package brings; nothing is fetched. Its import takes longer than a hundred hits, so it
waits for the first answer, which is judged off the event loop.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Format, Json, load_object
from computer_use_cache.models import Cost, Response, Shape

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider, Usage

logger = logging.getLogger(__name__)

_MOST_TOKENS = 10**12
"""An upstream may send any number; larger ones are nonsense, and no number for a counter."""


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How genai-prices calls the usage of an API: `own` at providers that differ, and where the plain one is found."""

    own: tuple[str, ...]
    provider: str
    flavor: str


_CHAT = _Spelling(("chat", "default"), "openai", "chat")
_SPELLINGS = {
    "chat_completions": _CHAT,
    "completions": _CHAT,
    "responses": _Spelling(("responses",), "openai", "responses"),
    "messages": _Spelling(("anthropic",), "anthropic", "default"),
    "gemini": _Spelling((), "google", "default"),
    "embeddings": _Spelling(("embeddings",), "openai", "embeddings"),
}


def cost_of(format: Format, upstream: str, model: str, shape: Shape, response: Response, *, now: float) -> Cost:
    """The cost of an answer that came in `shape` at `now` (Unix seconds) from the API at the base URL `upstream`.

    `model` is the one that the request named; the answer may name it more exactly. Without usage in the answer the
    tokens are 0, and without a price `usd` is None.
    """
    if b"usage" not in response.body and rb"\u00" not in response.body:
        # So are most of OpenAI's streams: to put thousands of events together would hold up their end for nothing.
        return Cost(seconds=response.seconds)
    try:
        if shape is Shape.JSON:
            answer = load_object(response.body)
        else:
            answer = format.assemble(format.split_stream(response.body, shape))
        usage = _usage(format, upstream, answer)
        if usage is None:
            return Cost(seconds=response.seconds)
        asked, answered = int(usage.reported_value("input_tokens")), int(usage.reported_value("output_tokens"))
        if not (0 <= asked <= _MOST_TOKENS and 0 <= answered <= _MOST_TOKENS):
            return Cost(seconds=response.seconds)
        return Cost(asked, answered, _usd(usage, upstream, answer, model, now), response.seconds)
    except FormatError:
        return Cost(seconds=response.seconds)
    except Exception:  # of a library, about data that anybody may have sent: an answer is kept all the same
        logger.warning("the cost of an answer is not known", exc_info=True)
        return Cost(seconds=response.seconds)


def _usage(format: Format, upstream: str, answer: Json) -> Usage | None:
    for provider, flavor in _extractors(format.name, upstream):
        try:
            return provider.extract_usage(answer, api_flavor=flavor)[1]
        except ValueError:  # not in this spelling
            continue
    return None


def _extractors(format_name: str, upstream: str) -> Iterator[tuple[Provider, str]]:
    spelling, provider = _SPELLINGS[format_name], _provider_at(upstream)
    flavors = {extractor.api_flavor for extractor in (provider.extractors or ())} if provider else set()
    if provider:
        yield from ((provider, flavor) for flavor in spelling.own if flavor in flavors)
    yield next(provider for provider in _providers() if provider.id == spelling.provider), spelling.flavor


def _usd(usage: Usage, upstream: str, answer: Json, model: str, now: float) -> float | None:
    provider = _provider_at(upstream)
    names = (answer.get("model"), answer.get("modelVersion"), model)
    found = (_model_at(upstream, name) for name in names if isinstance(name, str) and name)
    info = next((info for info in found if info), None)
    if provider is None or info is None:
        return None
    try:
        price = info.calc_price(
            usage,
            provider,
            genai_request_timestamp=datetime.fromtimestamp(now, UTC),
            price_context=_price_context(answer),
        )
    except ValueError:  # parts of the usage are more than the whole
        return None
    is_listed = any(value is not None for value in price.model_price.__dict__.values())
    return float(price.total_price) if is_listed or info.id.endswith(":free") else None


def _price_context(answer: Json) -> dict[str, str]:
    """What beside the tokens decides the price: how fast the provider says that it answered."""
    usage, google = answer.get("usage"), answer.get("usageMetadata")
    context = {
        "service_tier": google.get("serviceTier") if isinstance(google, dict) else answer.get("service_tier"),
        "speed": usage.get("speed") if isinstance(usage, dict) else None,
    }
    return {name: value for name, value in context.items() if isinstance(value, str)}


@cache
def _providers() -> list[Provider]:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  # see the module's docstring

    return get_snapshot().providers


@lru_cache(maxsize=256)
def _provider_at(upstream: str) -> Provider | None:
    return next((provider for provider in _providers() if re.match(provider.api_pattern, upstream)), None)


@lru_cache(maxsize=1024)
def _model_at(upstream: str, name: str) -> ModelInfo | None:
    provider = _provider_at(upstream)
    return provider.find_model(name, all_providers=_providers()) if provider else None
