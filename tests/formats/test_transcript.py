"""Requests and answers as text: every API's conversation, tools, calls, results and usage can be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import corpus
from computer_use_cache import formats
from computer_use_cache.formats import transcript
from computer_use_cache.formats.base import Format
from computer_use_cache.models import Shape
from pictures import PNG, coded

PICTURE = f"[image/png, {len(PNG)} bytes, 1280 x 800 pixels]"
DATA_URL = f"data:image/png;base64,{coded(PNG)}"
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}}
CLICK_TOLD = "click(x, y)  Clicks at a place."
CALL_TOLD = '→ click  call_1\n  {\n    "x": 1\n  }'

CHAT = {
    "model": "m",
    "temperature": 0.5,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"image_url": {"url": DATA_URL}}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "A button.",
            "tool_calls": [{"id": "call_1", "function": {"name": "click", "arguments": '{"x": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "clicked"},
    ],
    "tools": [{"function": {"name": "click", "description": "Clicks at\n a place.", "parameters": SCHEMA}}],
}
RESPONSES = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Look:"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "A button."}], "encrypted_content": "abc"},
        {"type": "function_call", "call_id": "call_1", "name": "click", "arguments": '{"x": 1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "clicked"},
        {"type": "computer_call", "call_id": "call_2", "action": {"type": "scroll"}},
        {
            "type": "computer_call_output",
            "call_id": "call_2",
            "output": {"type": "computer_screenshot", "image_url": DATA_URL},
        },
    ],
    "tools": [
        {"type": "function", "name": "click", "description": "Clicks at a place.", "parameters": SCHEMA},
        {"type": "computer_use_preview", "display_width": 1280},
    ],
}
MESSAGES = {
    "model": "m",
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "Look:"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "A button.", "signature": "s"},
                {"type": "redacted_thinking", "data": "abcd"},
                {"type": "tool_use", "id": "call_1", "name": "click", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "clicked"},
                        {"type": "image", "source": {"media_type": "image/png", "data": coded(PNG)}},
                    ],
                }
            ],
        },
    ],
    "tools": [{"name": "click", "description": "Clicks at a place.", "input_schema": SCHEMA}],
}
GEMINI = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "Look:"}, {"inlineData": {"mimeType": "image/png", "data": coded(PNG)}}]},
        {
            "role": "model",
            "parts": [
                {"text": "A button.", "thought": True},
                {"functionCall": {"id": "call_1", "name": "click", "args": {"x": 1}}},
            ],
        },
        {"parts": [{"functionResponse": {"id": "call_1", "name": "click", "response": {"output": "clicked"}}}]},
    ],
    "tools": [
        {"functionDeclarations": [{"name": "click", "description": "Clicks at a place.", "parameters": SCHEMA}]},
        {"googleSearch": {}},
    ],
}


API_OF = {
    "prompt": "completions",
    "input": "responses",
    "contents": "gemini",
    "system": "messages",
    "output": "responses",
    "content": "messages",
    "candidates": "gemini",
    "data": "embeddings",
}


def api_of(body: dict[str, Any]) -> Format:
    """The API that has the fields of a body."""
    return formats.by_name(next((API_OF[name] for name in body if name in API_OF), "chat_completions"))


def of_request(body: dict[str, Any]) -> str:
    return transcript.of_request(api_of(body), body)


def of_answer(answer: dict[str, Any]) -> str:
    return transcript.of_answer(api_of(answer), answer)


@pytest.mark.parametrize(
    ("request_body", "more"),
    [
        pytest.param(CHAT, ("temperature: 0.5", "── [3] tool", "← call_1\n  clicked", PICTURE), id="chat"),
        pytest.param(
            RESPONSES,
            ("computer_use_preview", "→ computer  call_2", f"← call_2\n  {PICTURE}", "(3 characters encrypted)"),
            id="responses",
        ),
        pytest.param(
            MESSAGES,
            (f"← call_1 (error)\n  clicked\n  {PICTURE}", "[reasoning] (4 characters encrypted)"),
            id="messages",
        ),
        pytest.param(GEMINI, ('{"googleSearch": {}}', '"output": "clicked"', "── [1] model", PICTURE), id="gemini"),
    ],
)
def test_a_conversation_can_be_read(request_body: dict[str, Any], more: tuple[str, ...]) -> None:
    told = of_request(request_body)
    for text in ("Be brief.", "── [0]", "Look:", "[reasoning] A button.", CALL_TOLD, CLICK_TOLD, *more):
        assert text in told, text
    assert coded(PNG) not in told


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        pytest.param({"prompt": "Once"}, ["Once"], id="a prompt"),
        pytest.param({"prompt": ["Once", "Twice"]}, ["[0] Once", "[1] Twice"], id="prompts"),
        pytest.param({"input": [1, 2, 3]}, ["[0] 3 tokens"], id="tokens"),
        pytest.param({"input": [[1, 2], [3]]}, ["[0] 2 tokens", "[1] 1 token"], id="lists of tokens"),
        pytest.param({"input": ["x"] * 150}, ["[99] x", "… 50 more"], id="many inputs"),
    ],
)
def test_inputs_are_shown_in_a_line_each(body: dict[str, Any], lines: list[str]) -> None:
    assert of_request(body).split("\n")[-len(lines) :] == lines


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        pytest.param(
            {"choices": [{"message": CHAT["messages"][2] | {"refusal": "No."}, "finish_reason": "tool_calls"}]},  # type: ignore[index]
            ("── [0] assistant · tool_calls", "[reasoning] A button.", CALL_TOLD, "[refusal] No."),
            id="chat",
        ),
        pytest.param(
            {"choices": [{"text": "upon a time", "finish_reason": "length"}]},
            ("── [0] completion · length", "\nupon a time"),
            id="completions",
        ),
        pytest.param(
            {"status": "completed", "output": RESPONSES["input"]},
            ("[reasoning] A button.", CALL_TOLD, "status: completed"),
            id="responses",
        ),
        pytest.param(
            {"role": "assistant", "stop_reason": "tool_use", "content": MESSAGES["messages"][1]["content"]},  # type: ignore[index]
            ("[reasoning] A button.", CALL_TOLD, "stop_reason: tool_use"),
            id="messages",
        ),
        pytest.param(
            {"candidates": [{"content": GEMINI["contents"][1], "finishReason": "STOP"}]},  # type: ignore[index]
            ("── [0] model · STOP", "[reasoning] A button.", CALL_TOLD),
            id="gemini",
        ),
        pytest.param(
            {"data": [{"index": 0, "embedding": [0.5] * 1536}, {"index": 1, "embedding": "A" * 8192}]},
            ("[0] 1,536 numbers: 0.5, 0.5, 0.5, 0.5, …", "[1] 1,536 numbers as base64"),
            id="embeddings",
        ),
        pytest.param({"error": {"message": "no"}}, ('error: {"message": "no"}',), id="an error"),
    ],
)
def test_an_answer_can_be_read(answer: dict[str, Any], texts: tuple[str, ...]) -> None:
    usage = {"input_tokens": 5, "details": {"cached": 3, "other": None}}
    name = api_of(answer).usage_places[0]
    told = of_answer(answer | {name: usage})
    for text in (*texts, f"{name}: input_tokens 5, details (cached 3)"):
        assert text in told, text


@pytest.mark.parametrize("name", ["messages", "input", "contents", "prompt", "system", "tools", "instructions"])
@pytest.mark.parametrize(
    "odd",
    [None, True, 1, "x", [], {}, [None], [[]], [{}], [1, "x", None], {"parts": 1}, [{"role": 1}], [{"role": "user"}]]
    + [[{"content": odd}] for odd in (1, {}, [1], [{}], [{"type": 1}], [{"type": "tool_use", "name": 1}])]
    + [[{"function": odd}] for odd in (1, {}, {"name": "x"}, {"name": 1, "parameters": {"properties": 1}})],
    ids=repr,
)
def test_a_request_that_makes_no_sense_is_shown_all_the_same(name: str, odd: object) -> None:
    of_request({name: odd})


@pytest.mark.parametrize("name", ["choices", "output", "content", "candidates", "data", "usage"])
@pytest.mark.parametrize(
    "odd", [None, 1, "x", {}, [], [None], [1], [{}], [{"message": 1}], [{"content": {"parts": 1}}]], ids=repr
)
def test_an_answer_that_makes_no_sense_is_shown_all_the_same(name: str, odd: object) -> None:
    of_answer({name: odd})


NAMES = st.sampled_from(
    [
        "messages",
        "input",
        "contents",
        "choices",
        "output",
        "content",
        "candidates",
        "parts",
        "message",
        "role",
        "type",
        "text",
        "function",
        "name",
        "arguments",
        "tool_calls",
        "functionCall",
        "args",
        "image_url",
        "url",
        "source",
        "data",
        "action",
        "call_id",
        "tool_use_id",
        "tools",
        "usage",
        "system",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.dictionaries(NAMES, VALUES))
def test_nothing_that_is_json_fails(body: dict[str, Any]) -> None:
    of_request(body)
    of_answer(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"messages": [{"role": "user", "content": "word " * 1_000_000}]}, id="a long text"),
        pytest.param({"messages": [{"role": "user", "content": "word"}] * 100_000}, id="many messages"),
        pytest.param({"messages": [{"role": "user", "content": [{"new": "A" * 1_200_000}]}]}, id="an unknown part"),
        pytest.param({"input": [{"type": "new_call", "action": ["x" * 1_200_000] * 3}]}, id="an unknown call"),
        pytest.param({"new": {"deep": ["A" * 1_200_000]}}, id="an unknown field"),
    ],
)
def test_the_text_is_bounded(body: dict[str, Any]) -> None:
    assert len(of_request(body)) < 510_000


@pytest.mark.parametrize("name", ["chat", "completions", "responses", "messages", "gemini", "embeddings"])
def test_recorded_answers_can_be_read(name: str) -> None:
    format = formats.by_name("chat_completions" if name == "chat" else name)
    for row in corpus.exchanges(name):
        of_request(row["req_body"])
        if row["stream"]:
            answer = format.assemble(format.split_stream(row["resp_body"].encode(), Shape.SSE))
            assert "── " in of_answer(answer)
