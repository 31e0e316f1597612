"""Each maker's stream and answer on Bedrock, converted into each other. Their shapes come from recorded traffic."""

from __future__ import annotations

from typing import Any

import pytest

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import bedrock_models
from computer_use_cache.formats.bedrock_models import METRICS

LAST: dict[str, Any] = {METRICS: {"inputTokenCount": 7, "outputTokenCount": 2}}
GUARDRAIL = {"amazon-bedrock-guardrailAction": "NONE"}
CALL = {"toolUseId": "tooluse_1", "name": "weather"}
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_sequence": None}


def text(index: int, piece: str) -> list[dict[str, Any]]:
    """One piece of a text, which Nova opens and closes like a block."""
    delta = {"contentBlockDelta": {"delta": {"text": piece}, "contentBlockIndex": index}}
    return [delta, {"contentBlockStop": {"contentBlockIndex": index}}]


DIALECTS = {
    "nova": (
        [
            {"messageStart": {"role": "assistant"}},
            *text(0, "Let me "),
            *text(1, "see."),
            {"contentBlockStart": {"start": {"toolUse": CALL}, "contentBlockIndex": 2}},
            {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"city":"Oslo"}'}}, "contentBlockIndex": 2}},
            {"contentBlockStop": {"contentBlockIndex": 2}},
            *text(3, "Wait."),
            {"messageStop": {"stopReason": "tool_use"}},
            {"metadata": {"usage": {"inputTokens": 7, "outputTokens": 2}, "metrics": {}, "trace": {}}}
            | LAST
            | GUARDRAIL,
        ],
        {
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [
                        {"text": "Let me see."},
                        {"toolUse": CALL | {"input": {"city": "Oslo"}}},
                        {"text": "Wait."},
                    ],
                }
            },
            "stopReason": "tool_use",
            "usage": {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9},
        }
        | GUARDRAIL,
    ),
    "titan": (
        [
            {"outputText": "It ", "index": 0.0, "totalOutputTextTokenCount": None, "inputTextTokenCount": 7.0},
            {"outputText": "rains.", "index": 0.0, "totalOutputTextTokenCount": 2.0, "completionReason": "FINISH"}
            | LAST,
        ],
        {
            "inputTextTokenCount": 7.0,
            "results": [{"tokenCount": 2.0, "outputText": "It rains.", "completionReason": "FINISH"}],
        },
    ),
    "llama": (
        [
            {"generation": "It ", "prompt_token_count": 7, "generation_token_count": 1, "stop_reason": None},
            {"generation": "rains.", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": "stop"}
            | LAST,
        ],
        {"generation": "It rains.", "prompt_token_count": 7, "generation_token_count": 2, "stop_reason": "stop"},
    ),
    "mistral, text": (
        [
            {"outputs": [{"text": "It ", "stop_reason": None}]},
            {"outputs": [{"text": "rains.", "stop_reason": "stop"}]} | LAST,
        ],
        {"outputs": [{"text": "It rains.", "stop_reason": "stop"}]},
    ),
    "mistral, chat": (
        [
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "It "}, "stop_reason": None}]},
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "rains."}, "stop_reason": "stop"}]}
            | LAST,
        ],
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "It rains."}, "stop_reason": "stop"}]},
    ),
    "claude before messages": (
        [
            {"type": "completion", "completion": " It ", "stop_reason": None, "stop": None},
            {"type": "completion", "completion": "rains.", "stop_reason": "stop_sequence", "stop": "Human:"} | LAST,
        ],
        {"type": "completion", "completion": " It rains.", "stop_reason": "stop_sequence", "stop": "Human:"},
    ),
    "claude": (
        [
            {"type": "message_start", "message": CLAUDE | {"content": [], "stop_reason": None, "usage": {}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It rains."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"} | LAST,
        ],
        CLAUDE
        | {
            "content": [{"type": "text", "text": "It rains."}],
            "stop_reason": "end_turn",
            "usage": {"output_tokens": 2},
        },
    ),
    "command r": (
        [
            {"event_type": "stream-start", "is_finished": False, "generation_id": "g"},
            {"event_type": "text-generation", "is_finished": False, "text": "It rains."},
            {
                "event_type": "stream-end",
                "is_finished": True,
                "finish_reason": "COMPLETE",
                "response": {
                    "generation_id": "g",
                    "text": "It rains.",
                    "chat_history": [],
                    "finish_reason": "COMPLETE",
                },
            }
            | LAST,
        ],
        {"generation_id": "g", "text": "It rains.", "chat_history": [], "finish_reason": "COMPLETE"},
    ),
    "chat": (
        [
            {
                "id": "c",
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": "It "}, "finish_reason": None}],
            },
            {"id": "c", "choices": [{"index": 0, "delta": {"content": "rains."}, "finish_reason": "stop"}]},
            {"id": "c", "choices": [], "usage": {"total_tokens": 9}} | LAST,
        ],
        {
            "id": "c",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "It rains."}, "finish_reason": "stop"}
            ],
            "usage": {"total_tokens": 9},
        },
    ),
    "chat, with its kind": (
        [
            {
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
            }
            | LAST
        ],
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        },
    ),
}


@pytest.mark.parametrize(("events", "answer"), DIALECTS.values(), ids=DIALECTS.keys())
def test_a_stream_gives_the_answer_and_the_answer_a_stream_that_says_the_same(
    events: list[dict[str, Any]], answer: dict[str, Any]
) -> None:
    assert bedrock_models.assemble(events) == answer
    made = bedrock_models.explode(answer)
    assert not any(METRICS in event for event in made)
    assert bedrock_models.assemble(made) == answer


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing"),
        pytest.param([{"text": "It", "index": 0, "is_finished": False}, {"is_finished": True} | LAST], id="Command"),
        pytest.param([{"outputText": "It"}], id="Titan without an index"),
        pytest.param(
            [{"choices": [{"message": {"content": "", "tool_calls": [{"id": id}]}}]} for id in "ab"],
            id="calls in two messages, which nobody has seen",
        ),
    ],
)
def test_a_stream_that_could_lose_something_is_not_assembled(events: list[dict[str, Any]]) -> None:
    with pytest.raises(FormatError):
        bedrock_models.assemble(events)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"embedding": [0.5], "inputTextTokenCount": 1}, id="embedding"),
        pytest.param({"generations": [{"id": "1", "text": "It", "finish_reason": "COMPLETE"}]}, id="Command"),
        pytest.param({"results": [{"index": 0, "relevance_score": 0.5}]}, id="rerank"),
        pytest.param({"results": [{"outputText": "It", "index": 5}]}, id="Titan with an index of its own"),
        pytest.param({"zz": 1, "results": [{"outputText": "It", "zz": 2}]}, id="Titan with two values of one name"),
    ],
)
def test_an_answer_that_is_never_streamed_is_not_cut_up(answer: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        bedrock_models.explode(answer)


M = {METRICS: {}}


def choice(index: int = 0, **members: object) -> dict[str, object]:
    return {"choices": [{"index": index, **members}]}


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param([choice(0, text="a"), choice(1, text="b", stop_reason="stop") | M], id="two choices"),
        pytest.param(
            [choice(message={"reasoning_content": "Let me "}), choice(message={"reasoning_content": "think"}) | M],
            id="a text that is not known to grow",
        ),
        pytest.param([{"outputText": "It", "index": 0, "zz": 1} | M], id="an event of Titan with more"),
    ],
)
def test_a_stream_that_would_lose_something_is_not_assembled(payloads: list[dict[str, object]]) -> None:
    with pytest.raises(FormatError):
        bedrock_models.assemble(payloads)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ({"choices": [], "usage": {"prompt_tokens": 1}}, {"usage": {"prompt_tokens": 1}}),
        (choice(stop_reason=""), {}),
        (choice(tool_calls=[]), {}),
    ],
)
def test_what_says_nothing_takes_nothing_away(last: dict[str, object], expected: dict[str, object]) -> None:
    said = {"index": 0, "text": "hello", "stop_reason": "stop", "tool_calls": [{"id": "1"}]}
    assert bedrock_models.assemble([{"choices": [said]}, last | M]) == {"choices": [said]} | expected


@pytest.mark.parametrize(
    "answer",
    [{"results": []}, {"type": "message", "message": "hello"}, {"type": "message", "content": "x", "stop_reason": "x"}],
)
def test_what_only_looks_like_a_dialect_is_not_streamed(answer: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        bedrock_models.explode(answer)


def test_a_text_after_other_blocks_stays_after_them() -> None:
    pieces = [{"text": "A"}, {"reasoningContent": {"text": "R"}}, {"text": "B"}]
    events = [{"contentBlockDelta": {"delta": delta, "contentBlockIndex": index}} for index, delta in enumerate(pieces)]
    stop = {"messageStop": {"stopReason": "end_turn"}}
    answer = bedrock_models.assemble([{"messageStart": {"role": "assistant"}}, *events, stop, M])
    texts = [next(iter(block)) for block in answer["output"]["message"]["content"]]
    assert texts == ["text", "reasoningContent", "text"]
