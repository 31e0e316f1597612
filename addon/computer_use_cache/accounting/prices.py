"""What an answer cost: the usage that it reports, priced by genai-prices.

A model behind a gateway or on this machine has its maker's list price, and is marked accordingly. An unknown model has
no price: nothing is guessed. The prices come with genai-prices; nothing is fetched. It is imported with the first
answer, off the event loop, because importing it takes longer than a hundred hits.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Format, Json, UsageFlavor
from computer_use_cache.models import Cost

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider, Usage

logger = logging.getLogger(__name__)

_MOST_TOKENS = 10**12
"""An upstream may send any number. Larger ones are nonsense, and too large for a counter."""
_MAKERS = ("anthropic", "cohere", "deepseek", "google", "mistral", "moonshotai", "openai", "perplexity", "x-ai")
"""Providers that make models: their price is the list price."""
_PREFIXES = {"mistralai": "mistral", "xai": "x-ai", "deepseek-ai": "deepseek"}
"""Prefixes of model names that gateways use for makers which genai-prices calls differently."""


def cost_of(answer: Answer, upstream: str, model: str, *, seconds: float, now: float) -> Cost:
    """The cost of an answer that came after `seconds`, at `now` (Unix seconds), from the API at the base URL
    `upstream`.

    `model` is the one that the request named; the answer may name it more exactly. Without usage in the answer the
    tokens are 0, and without a price `usd` is None.
    """
    try:
        format, text = answer.format, answer.searchable
        if format.usage_places[0].encode() not in text and rb"\u00" not in text:
            return Cost(seconds=seconds)  # true of most of OpenAI's streams
        whole = format.opened_answer(answer.whole)
        usage = _usage(format, upstream, whole)
        if usage is None:
            return Cost(seconds=seconds)
        asked, answered = int(usage.reported_value("input_tokens")), int(usage.reported_value("output_tokens"))
        if not (0 <= asked <= _MOST_TOKENS and 0 <= answered <= _MOST_TOKENS):
            return Cost(seconds=seconds)
        priced = _priced(upstream, (format.model_of_answer(whole), model))
        usd = _usd(format, usage, priced, whole, now) if priced else None
        is_listed = usd is not None and priced is not None and priced.is_listed
        return Cost(asked, answered, usd, seconds, is_listed)
    except FormatError:
        return Cost(seconds=seconds)
    except Exception:  # a library's error about untrusted data must not keep an answer from being stored
        logger.warning("the cost of an answer is not known", exc_info=True)
        return Cost(seconds=seconds)


def _usage(format: Format, upstream: str, answer: Json) -> Usage | None:
    for provider, flavor in _extractors(format.usage_flavor, upstream):
        try:
            return provider.extract_usage(answer, api_flavor=flavor)[1]
        except ValueError:  # not in this spelling
            continue
    return None


def _extractors(spelling: UsageFlavor, upstream: str) -> Iterator[tuple[Provider, str]]:
    provider = _provider_at(upstream)
    flavors = {extractor.api_flavor for extractor in (provider.extractors or ())} if provider else set()
    if provider:
        yield from ((provider, flavor) for flavor in spelling.own if flavor in flavors)
    yield next(provider for provider in _providers() if provider.id == spelling.provider), spelling.name


class _Priced(NamedTuple):
    """A model as one provider prices it; `is_listed` if that is the model's maker and not the upstream itself."""

    provider: Provider
    info: ModelInfo
    is_listed: bool


def _priced(upstream: str, names: Iterable[object]) -> _Priced | None:
    """The model with the first of these names that is known."""
    known = [name for name in names if isinstance(name, str) and name]
    provider = _provider_at(upstream)
    if provider is None:
        return next(filter(None, map(_listed, known)), None)
    info = next(filter(None, (_model_at(upstream, name) for name in known)), None)
    return _Priced(provider, info, is_listed=False) if info else None


def _usd(format: Format, usage: Usage, priced: _Priced, answer: Json, now: float) -> float | None:
    try:
        price = priced.info.calc_price(
            usage,
            priced.provider,
            genai_request_timestamp=datetime.fromtimestamp(now, UTC),
            price_context=_price_context(format, answer),
        )
    except ValueError:  # parts of the usage are more than the whole
        return None
    has_price = any(value is not None for value in price.model_price.__dict__.values())
    return float(price.total_price) if has_price or priced.info.id.endswith(":free") else None


def _price_context(format: Format, answer: Json) -> dict[str, str]:
    """What the price depends on besides the tokens: the tier and the speed that the provider reports."""
    reported = answer.get(format.usage_places[0])
    usage = reported if isinstance(reported, dict) else {}
    context = {
        "service_tier": usage.get("serviceTier") or answer.get("service_tier"),
        "speed": usage.get("speed"),
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


@lru_cache(maxsize=1024)
def _listed(name: str) -> _Priced | None:
    """A model that its maker lists under exactly this name, with or without a prefix: `openai/gpt-5`, `gpt-5`."""
    prefix, _, bare = name.lower().rpartition("/")
    wanted = (_PREFIXES.get(prefix, prefix),) if prefix else _MAKERS
    for provider in _providers():
        if provider.id in _MAKERS and provider.id in wanted:
            info = provider.find_model(bare, all_providers=_providers())
            if info and _is_known_as(info, bare):
                return _Priced(provider, info, is_listed=True)
    return None


def _is_known_as(info: ModelInfo, name: str) -> bool:
    """Whether a model has exactly this name, or its id with a date or version. genai-prices matches some models by
    prefix, and would price a derived `deepseek-chat-uncensored` like the original."""
    if re.fullmatch(re.escape(info.id) + r"(-(latest|preview|v?[0-9][0-9.-]*))*", name):
        return True
    return not info.match.is_match(f"{name}-other")
