"""With CACHE_HIT_USAGE=zero a hit reports no usage, in every API and both shapes, and says everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.formats import usage
from computer_use_cache.models import Shape

type Json = dict[str, Any]

CHAT = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "total_tokens": 4, "cost": 0.5, "is_byok": False, "details": {"cached_tokens": 1}},
    "created": 7,
}
ANSWERS: dict[str, Json] = {
    "chat_completions": CHAT,
    "completions": {"choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}], "usage": {"total_tokens": 4}},
    "messages": {
        "type": "message",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 9},
    },
    "responses": {"status": "completed", "output": [], "usage": {"input_tokens": 3, "details": {"cached_tokens": 2}}},
    "gemini": {
        "candidates": [{"index": 0, "content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"totalTokenCount": 4, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}]},
    },
    "embeddings": {"data": [{"index": 0, "embedding": [0.5]}], "usage": {"total_tokens": 4}},
}


def zero(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: zero(member) for name, member in value.items()}
    if isinstance(value, list):
        return [zero(item) for item in value]
    return 0 if type(value) in (int, float) else value


@pytest.mark.parametrize("api", ANSWERS)
def test_a_json_answer_keeps_all_but_its_usage(api: str) -> None:
    answer, format = ANSWERS[api], formats.by_name(api)
    (body,) = usage.zeroed(format, json.dumps(answer).encode(), Shape.JSON)
    name = format.usage_places[0]
    assert json.loads(body) == answer | {name: zero(answer[name])}


@pytest.mark.parametrize("shape", [Shape.SSE, Shape.ARRAY])
@pytest.mark.parametrize("api", [api for api in ANSWERS if api != "embeddings"])
def test_a_stream_keeps_all_but_its_usage(api: str, shape: Shape) -> None:
    format = formats.by_name(api)
    if shape is Shape.ARRAY and api != "gemini":
        pytest.skip("only Gemini streams arrays")
    body = b"".join(format.join_stream(format.explode(ANSWERS[api], with_usage=True), shape))
    whole = format.assemble(format.split_stream(body, shape))
    zeroed = b"".join(usage.zeroed(format, body, shape))
    name = format.usage_places[0]
    assert format.assemble(format.split_stream(zeroed, shape)) == whole | {name: zero(whole[name])}


def test_subtitles_that_hold_the_word_stay() -> None:
    said = b"1\n00:00:00,000 --> 00:00:01,000\nits usage is low\n"
    assert usage.zeroed(formats.by_name("transcriptions"), said, Shape.RAW) == [said]
