"""What an answer cost: usage in every API's spelling, in every shape; a price is known, or said not to be."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import genai_prices
import pytest
from msgspec.structs import replace

import corpus
from computer_use_cache import formats
from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.accounting.prices import cost_of
from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import RequestError
from computer_use_cache.formats.answer import Answer
from computer_use_cache.keys.upstream import split
from computer_use_cache.models import Bypass, Cost, Entry, Outcome, Request, Response, Shape
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"
GOOGLE, OPENROUTER = "https://generativelanguage.googleapis.com/v1beta", "https://openrouter.ai/api/v1"

CHAT = {
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 60},
    },
}
"""At $2.50, $1.25 cached and $10 a million: 600 x 2.5 + 400 x 1.25 + 100 x 10 = 3000 millionths."""
RESPONSE = {
    "model": "gpt-4o",
    "status": "completed",
    "output": [],
    "usage": {
        "input_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 400},
        "output_tokens": 100,
        "output_tokens_details": {"reasoning_tokens": 60},
    },
}
MESSAGE = {
    "type": "message",
    "model": "claude-3-5-sonnet-20241022",
    "content": [{"type": "text", "text": "hi"}],
    "usage": {
        "input_tokens": 1000,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 10_000,
        "output_tokens": 200,
    },
}
"""At $3, $3.75 to write and $0.30 to read the provider's cache, $15 out."""
GEMINI = {
    "modelVersion": "gemini-2.0-flash",
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 100, "thoughtsTokenCount": 50},
}
EMBEDDING = {
    "model": "text-embedding-3-small",
    "data": [{"index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
}
COMPLETION = {
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
}


def cost(name: str, upstream: str, answer: Any, model: str = "m", shape: Shape = Shape.JSON) -> Cost:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return cost_of(Answer(formats.by_name(name), shape, body), upstream, model, seconds=2.5, now=NOW)


@pytest.mark.parametrize(
    ("name", "upstream", "answer", "expected"),
    [
        ("chat_completions", OPENAI, CHAT, Cost(1000, 100, 0.003, 2.5)),
        ("chat_completions", "https://x.openai.azure.com/openai/deployments/d", CHAT, Cost(1000, 100, 0.003, 2.5)),
        ("completions", OPENAI, COMPLETION, Cost(1000, 100, 0.0017, 2.5)),
        ("responses", OPENAI, RESPONSE, Cost(1000, 100, 0.003, 2.5)),
        ("messages", ANTHROPIC, MESSAGE, Cost(11_100, 200, 0.009375, 2.5)),
        ("gemini", GOOGLE, GEMINI, Cost(1000, 150, 0.00016, 2.5)),
        ("embeddings", OPENAI, EMBEDDING, Cost(1000, 0, 0.00002, 2.5)),
        ("chat_completions", OPENROUTER, CHAT | {"model": "openai/gpt-4o-mini"}, Cost(1000, 100, 0.00018, 2.5)),
        ("messages", OPENROUTER, MESSAGE | {"model": "anthropic/claude-3.5-sonnet"}, Cost(11_100, 200, 0.0363, 2.5)),
        ("chat_completions", OPENROUTER, CHAT | {"model": "deepseek/deepseek-r1:free"}, Cost(1000, 100, 0.0, 2.5)),
        ("responses", OPENAI, RESPONSE | {"model": "gpt-5", "service_tier": "flex"}, Cost(1000, 100, 0.0009, 2.5)),
        ("chat_completions", "https://api.example/v1", CHAT, Cost(1000, 100, 0.003, 2.5, at_list_price=True)),
        ("chat_completions", "http://127.0.0.1:11434/v1", CHAT, Cost(1000, 100, 0.003, 2.5, at_list_price=True)),
        ("chat_completions", OPENAI, CHAT | {"model": "no-such-model"}, Cost(1000, 100, None, 2.5)),
        ("chat_completions", OPENROUTER, CHAT | {"model": "openai/no-such-model"}, Cost(1000, 100, None, 2.5)),
    ],
)
def test_usage_is_read_as_its_api_spells_it_and_priced(
    name: str, upstream: str, answer: dict[str, Any], expected: Cost
) -> None:
    assert rounded(cost(name, upstream, answer)) == expected


def rounded(found: Cost) -> Cost:
    return found if found.usd is None else replace(found, usd=round(found.usd, 12))


@pytest.mark.parametrize(
    ("name", "upstream", "answer", "shape"),
    [
        ("chat_completions", OPENAI, CHAT, Shape.SSE),
        ("completions", OPENAI, COMPLETION, Shape.SSE),
        ("responses", OPENAI, RESPONSE, Shape.SSE),
        ("messages", ANTHROPIC, MESSAGE, Shape.SSE),
        ("gemini", GOOGLE, GEMINI, Shape.SSE),
        ("gemini", GOOGLE, GEMINI, Shape.ARRAY),
    ],
)
def test_a_stream_costs_what_its_answer_costs(name: str, upstream: str, answer: dict[str, Any], shape: Shape) -> None:
    format = formats.by_name(name)
    stream = b"".join(format.join_stream(format.explode(answer, with_usage=True), shape))
    assert cost(name, upstream, stream, shape=shape) == cost(name, upstream, answer)


def test_the_request_names_the_model_where_the_answer_does_not() -> None:
    nameless = {name: value for name, value in CHAT.items() if name != "model"}
    assert cost("chat_completions", OPENAI, nameless, model="gpt-4o") == cost("chat_completions", OPENAI, CHAT)


def test_a_price_is_that_of_the_day() -> None:
    body = json.dumps(CHAT | {"model": "o3"}).encode()
    answer = Answer(formats.by_name("chat_completions"), Shape.JSON, body)
    before, after = (
        cost_of(answer, OPENAI, "o3", seconds=0.0, now=datetime(*day, tzinfo=UTC).timestamp())
        for day in ((2025, 6, 9), (2025, 6, 10))
    )
    assert before.usd
    assert after.usd
    assert before.usd > after.usd


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Cost(seconds=2.5)),
        ({}, Cost(seconds=2.5)),
        ([], Cost(seconds=2.5)),
        ("12", Cost(seconds=2.5)),
        ({"prompt_tokens": "12", "completion_tokens": 3}, Cost(seconds=2.5)),
        ({"prompt_tokens": -12, "completion_tokens": 3}, Cost(seconds=2.5)),
        ({"prompt_tokens": 10**400, "completion_tokens": 3}, Cost(seconds=2.5)),
        ({"prompt_tokens": 1e300, "completion_tokens": 3}, Cost(seconds=2.5)),
        (
            {"prompt_tokens": 1, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}},
            Cost(1, 3, None, 2.5),
        ),
    ],
    ids=str,
)
def test_nonsensical_usage_has_no_price(usage: Any, expected: Cost) -> None:
    assert cost("chat_completions", OPENAI, CHAT | {"usage": usage}) == expected


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"data: {}", b"\xff"])
@pytest.mark.parametrize("shape", Shape)
def test_the_cost_of_anything_but_an_answer_is_unknown(body: bytes, shape: Shape) -> None:
    for format in formats.FORMATS:
        assert cost(format.name, OPENAI, body, shape=shape) == Cost(seconds=2.5)


# -- the recorded traffic

FILES = ("chat", "completions", "responses", "messages", "gemini", "embeddings")


def recorded() -> Iterator[tuple[Request, Response, dict[str, Any]]]:
    """Each recorded exchange, and its row."""
    for name in FILES:
        for row in corpus.exchanges(name):
            url = urlsplit(row["url"])
            upstream, path = split(f"{url.scheme}://{url.netloc}", url.path, BaseUrl.parse("https://none.example/v1"))
            if row["status"] == 200 and formats.match(path):
                sent = json.dumps(row["req_body"]).encode()
                body = row["resp_body"]
                answer = base64.b64decode(body) if row.get("resp_encoding") == "base64" else body.encode()
                query = (("alt", "sse"),) if row["stream"] else ()
                headers = {"content-type": row["resp_headers"].get("content-type", "")}
                yield Request(upstream, path, query, {}, sent), Response(200, headers, answer, 1.0), row


def reported(row: dict[str, Any], answer: bytes) -> dict[str, Any]:
    """The object that reports an answer's usage: the answer itself, or what the chunks of a stream that do say."""
    text = answer.decode()
    if not row["stream"]:
        return dict(json.loads(text))
    lines = (line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
    found: dict[str, Any] = {}
    for chunk in (json.loads(line) for line in lines if line and line != "[DONE]"):
        whole = chunk.get("response") or chunk.get("message") or chunk
        usage = found.get("usage") or {}
        found |= {name: value for name, value in whole.items() if value is not None}
        found["usage"] = usage | {
            name: value for name, value in (whole.get("usage") or {}).items() if value is not None
        }
    return found


def independent(row: dict[str, Any], answer: bytes) -> tuple[int, int, Decimal | None]:
    """Tokens in and out, and the price, worked out from the recording by hand and with genai-prices alone."""
    said = reported(row, answer)
    usage = said.get("usageMetadata") or said.get("usage") or {}
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    counts = {
        "cache_read_tokens": details.get("cached_tokens"),
        "cache_write_tokens": details.get("cache_write_tokens"),
    }
    out = usage.get("completion_tokens", usage.get("output_tokens", 0))
    if any(isinstance(item["modality"], int) for item in usage.get("promptTokensDetails", [])):
        return 0, 0, None  # enum-encoding=int, which genai-prices cannot read
    if "promptTokenCount" in usage:
        tool = usage.get("toolUsePromptTokenCount", 0)
        counts = {"input_tokens": usage["promptTokenCount"] + tool}
        counts["cache_read_tokens"] = usage.get("cachedContentTokenCount")
        out = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
        for item in usage.get("promptTokensDetails", []):
            kind = {"DOCUMENT": "image"}.get(item["modality"], item["modality"].lower())
            counts[f"input_{kind}_tokens"] = item["tokenCount"] + (tool if kind == "text" else 0)
    elif row["api"] == "messages":
        written, read = usage.get("cache_creation_input_tokens") or 0, usage.get("cache_read_input_tokens") or 0
        counts = {"input_tokens": usage["input_tokens"] + written + read}
        counts |= {"cache_write_tokens": written, "cache_read_tokens": read}
        longer = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")
        counts |= {"cache_write_1h_tokens": longer}
        counts |= {"web_searches": (usage.get("server_tool_use") or {}).get("web_search_requests")}
    elif usage:
        counts["input_tokens"] = usage.get("prompt_tokens", usage.get("input_tokens"))
        counts["input_audio_tokens"] = details.get("audio_tokens")
        counts["output_audio_tokens"] = (usage.get("completion_tokens_details") or {}).get("audio_tokens")
        if "api.x.ai" in row["url"]:  # bills reasoning beside the completion
            out += (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    if not usage or counts.get("input_tokens") is None:
        return 0, 0, None
    counts["output_tokens"] = out
    context = {"service_tier": str(said.get("service_tier"))}
    for model in (said.get("model"), said.get("modelVersion"), (row["req_body"] or {}).get("model")):
        try:
            price = genai_prices.calc_price(
                genai_prices.Usage(**counts),
                str(model),
                provider_api_url=row["url"],
                genai_request_timestamp=datetime.fromtimestamp(NOW, UTC),
                price_context=context,
            )
            return counts["input_tokens"], out, price.total_price
        except LookupError:
            continue
    return counts["input_tokens"], out, None


def at_own_price(cost: Cost) -> Cost:
    """A cost without list prices, which are not worked out by hand here."""
    return replace(cost, usd=None) if cost.at_list_price else cost


def test_the_savings_of_recorded_traffic_replayed_twice_are_an_independent_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(DiskStore(tmp_path / "store", 2**30)) as store:
        cache, ledger = Cache(Settings.load({}), store, loopback=True), Ledger(store)
        first: dict[str, tuple[int, int, Decimal | None]] = {}
        expected = {"spent": [0, 0, Decimal(0)], "saved": [0, 0, Decimal(0)]}
        for request, response, row in (*recorded(), *recorded()):
            try:
                plan = cache.plan(request)
            except RequestError:
                continue
            if isinstance(plan.verdict, Bypass):
                continue
            entry, book = cache.lookup(plan, NOW), "saved"
            if isinstance(entry, Entry):
                ledger.served(Outcome.HIT, plan.model, at_own_price(entry.cost))
            else:
                judged, book = cache.judge(plan, response, NOW), "spent"
                if not isinstance(judged, Entry):
                    continue
                cache.keep(judged, NOW)
                ledger.served(Outcome.MISS, plan.model, at_own_price(judged.cost))
                first[plan.key] = independent(row, response.body)
            for place, number in enumerate(first[plan.key]):
                expected[book][place] += number or 0
        models = ledger.statistics(Settings.load({}), NOW).models.values()
    for book, sums in expected.items():
        books = [getattr(model, book) for model in models]
        counted = [sum(getattr(one, name) or 0 for one in books) for name in ("input_tokens", "output_tokens", "usd")]
        with capsys.disabled():
            print(f"\n{book}: {sums} expected, {counted} counted")
        assert counted[:2] == sums[:2]
        assert counted[2] == pytest.approx(float(sums[2]), rel=1e-9)
    assert expected["saved"][2] > expected["spent"][2] > 0


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:4000/v1", "https://gateway.example/v1"])
@pytest.mark.parametrize(
    ("model", "is_known"),
    [
        ("gpt-4o", True),
        ("gpt-4o-2024-08-06", True),
        ("openai/gpt-4o", True),
        ("claude-3-5-sonnet-20241022", True),
        ("anthropic/claude-3-5-sonnet-latest", True),
        ("m", False),
        ("my-gpt-4o", False),
        ("gpt-4o-uncensored", False),
        ("deepseek-chat-uncensored", False),
        ("someone/gpt-4o", False),
    ],
)
def test_a_gateway_has_the_list_price_of_known_models_and_none_of_others(
    upstream: str, model: str, is_known: bool
) -> None:
    body = json.dumps({name: value for name, value in CHAT.items() if name != "model"}).encode()
    answer = Answer(formats.by_name("chat_completions"), Shape.JSON, body)
    cost = cost_of(answer, upstream, model, seconds=1.0, now=NOW)
    assert (cost.usd is not None, cost.at_list_price) == (is_known, is_known)
