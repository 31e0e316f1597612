"""Every API through its official client: a miss, then hits in both shapes, without the upstream."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from support import FAKE_KEY, STREAM_HEAD, Asked, Proxy, Send, Upstream, chunk, response


def answers(*replies: dict[str, Any]) -> Any:
    """A handler that gives these JSON answers in turn, and fails when it is asked for more."""
    left = list(replies)

    async def handler(asked: Asked, send: Send) -> None:
        await send(response(json.dumps(left.pop(0)).encode(), request_id="req_1"))

    return handler


@pytest.fixture
def openai_client(proxy: Proxy) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=proxy.url, api_key=FAKE_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(proxy: Proxy) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{proxy.port}"
    with anthropic.Anthropic(base_url=url, api_key=FAKE_KEY, max_retries=0) as client:
        yield client


# -- OpenAI's computer use: a loop of three turns


def computer_turn(number: int, *items: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1700000000 + number,
        "status": "completed",
        "model": "computer-use-preview",
        "output": list(items),
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 10,
            "output_tokens": 5,
            "total_tokens": 15,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def computer_call(number: int, action: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "computer_call",
        "id": f"cu_{number}",
        "call_id": f"call_{number}",
        "action": action,
        "pending_safety_checks": [],
        "status": "completed",
    }


COMPUTER_TURNS = [
    computer_turn(
        1,
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Look first."}]},
        computer_call(1, {"type": "screenshot"}),
    ),
    computer_turn(2, computer_call(2, {"type": "click", "button": "left", "x": 10, "y": 20})),
    computer_turn(
        3,
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Done.", "annotations": [], "logprobs": []}],
        },
    ),
]
SCREENSHOT = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 40).decode()


def run_openai_loop(client: openai.OpenAI, *, stream: bool) -> list[Any]:
    """What an agent does: ask, act, send the screenshot, until there is nothing left to do."""
    tools = [{"type": "computer_use_preview", "display_width": 800, "display_height": 600, "environment": "browser"}]
    sent: Any = [{"role": "user", "content": "Press the button."}]
    turns: list[Any] = []
    while True:
        previous = {"previous_response_id": turns[-1].id} if turns else {}
        common: Any = {"model": "computer-use-preview", "input": sent, "tools": tools, "truncation": "auto"} | previous
        if stream:
            with client.responses.stream(**common) as events:
                turn = events.get_final_response()
        else:
            turn = client.responses.create(**common)
        turns.append(turn)
        calls = [item for item in turn.output if item.type == "computer_call"]
        if not calls:
            return turns
        output = {"type": "computer_screenshot", "image_url": SCREENSHOT}
        sent = [{"type": "computer_call_output", "call_id": call.call_id, "output": output} for call in calls]


def test_openais_computer_use_loop_replays_without_the_upstream(
    openai_client: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.handler = answers(*COMPUTER_TURNS)
    recorded = run_openai_loop(openai_client, stream=False)
    assert [asked.json().get("previous_response_id") for asked in upstream.asked] == [None, "resp_1", "resp_2"]
    upstream.stop()
    replayed = run_openai_loop(openai_client, stream=False)
    streamed = run_openai_loop(openai_client, stream=True)
    assert [turn.to_dict() for turn in recorded] == COMPUTER_TURNS
    assert [turn.to_dict() for turn in replayed] == COMPUTER_TURNS
    assert [turn.output[-1].to_dict() for turn in streamed][:2] == [turn["output"][-1] for turn in COMPUTER_TURNS[:2]]
    assert streamed[-1].output_text == "Done."


# -- Anthropic's computer use: a loop of two turns, with thinking


def claude_turn(number: int, stop: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 7},
    }


SIGNATURE = base64.b64encode(bytes(range(90))).decode()
CLAUDE_TURNS = [
    claude_turn(
        1,
        "tool_use",
        {"type": "thinking", "thinking": "I need to see.", "signature": SIGNATURE},
        {"type": "redacted_thinking", "data": SIGNATURE},
        {"type": "text", "text": "I will take a screenshot."},
        {"type": "tool_use", "id": "toolu_1", "name": "computer", "input": {"action": "screenshot"}},
        {
            "type": "tool_use",
            "id": "toolu_2",
            "name": "computer",
            "input": {"action": "left_click", "coordinate": [3, 4]},
        },
    ),
    claude_turn(2, "end_turn", {"type": "text", "text": "The button is pressed."}),
]


def run_anthropic_loop(client: anthropic.Anthropic, *, stream: bool) -> list[Any]:
    tools: Any = [
        {"type": "computer_20250124", "name": "computer", "display_width_px": 800, "display_height_px": 600},
    ]
    messages: list[Any] = [{"role": "user", "content": "Press the button."}]
    turns: list[Any] = []
    while True:
        common: Any = {
            "model": "claude-test",
            "max_tokens": 500,
            "tools": tools,
            "messages": messages,
            "betas": ["computer-use-2025-01-24"],
        }
        if stream:
            with client.beta.messages.stream(**common) as events:
                turn = events.get_final_message()
        else:
            turn = client.beta.messages.create(**common)
        turns.append(turn)
        calls = [block for block in turn.content if block.type == "tool_use"]
        if not calls:
            return turns
        image = {"type": "base64", "media_type": "image/png", "data": SCREENSHOT.partition(",")[2]}
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "image", "source": image}]}
            for call in calls
        ]
        content = [block.to_dict() for block in turn.content]
        messages = [*messages, {"role": "assistant", "content": content}, {"role": "user", "content": results}]


def test_anthropics_computer_use_loop_replays_without_the_upstream(
    anthropic_client: anthropic.Anthropic, upstream: Upstream
) -> None:
    upstream.handler = answers(*CLAUDE_TURNS)
    recorded = run_anthropic_loop(anthropic_client, stream=False)
    assert upstream.asked[0].headers["anthropic-beta"] == "computer-use-2025-01-24"
    upstream.stop()
    replayed = run_anthropic_loop(anthropic_client, stream=False)
    streamed = run_anthropic_loop(anthropic_client, stream=True)
    for turns in (recorded, replayed):
        assert [turn.to_dict() for turn in turns] == CLAUDE_TURNS
    for turn, expected in zip(streamed, CLAUDE_TURNS, strict=True):
        got = turn.to_dict(exclude_none=True)
        assert (got["id"], got["content"], got["stop_reason"]) == tuple(
            expected[name] for name in ("id", "content", "stop_reason")
        )


def test_anthropic_errors_come_in_its_own_form(anthropic_client: anthropic.Anthropic, upstream: Upstream) -> None:
    upstream.stop()
    with pytest.raises(anthropic.InternalServerError) as failure:
        anthropic_client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert failure.value.status_code == 502
    assert failure.value.body == failure.value.response.json()
    assert failure.value.response.json()["type"] == "error"


# -- Gemini

GEMINI_EVENTS = [
    {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "po"}]}}], "responseId": "r"},
    {
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "ng"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
        "responseId": "r",
    },
]
GEMINI_BODY = {"contents": [{"role": "user", "parts": [{"text": "ping"}]}]}


def test_gemini_is_recorded_as_a_stream_and_replayed_in_all_three_shapes(proxy: Proxy, upstream: Upstream) -> None:
    async def handler(asked: Asked, send: Send) -> None:
        frames = [f"data: {json.dumps(event)}\r\n\r\n".encode() for event in GEMINI_EVENTS]
        await send(STREAM_HEAD + b"".join(map(chunk, [*frames, b""])))

    upstream.handler = handler
    path = "/v1beta/models/gemini-test:"
    headers = {"x-goog-api-key": FAKE_KEY}
    streamed = proxy.post(path + "streamGenerateContent?alt=sse", GEMINI_BODY, headers)
    assert (streamed.cache, upstream.asked[0].path) == ("MISS", path + "streamGenerateContent?alt=sse")
    upstream.stop()
    again = proxy.post(path + "streamGenerateContent?alt=sse", GEMINI_BODY, headers)
    assert (again.cache, again.body) == ("HIT", streamed.body)
    array = proxy.post(path + "streamGenerateContent", GEMINI_BODY, headers)
    assert (array.cache, array.json()) == ("HIT", GEMINI_EVENTS)
    whole = proxy.post(path + "generateContent", GEMINI_BODY, headers)
    assert whole.cache == "HIT"
    assert whole.json()["candidates"][0]["content"]["parts"] == [{"text": "pong"}]
    assert whole.json()["usageMetadata"]["totalTokenCount"] == 3
    assert proxy.post("/v1beta/models/another:generateContent", GEMINI_BODY, headers).status == 502


# -- embeddings


def embed(text: str) -> list[float]:
    return [float(len(text)), 0.5, -1.0]


async def embedding_model(asked: Asked, send: Send) -> None:
    """Embeds each input, and counts a token per character."""
    body = asked.json()
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vectors: list[Any] = [embed(text) for text in inputs]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    tokens = sum(map(len, inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    await send(response(json.dumps({"object": "list", "data": data, "model": "e", "usage": usage}).encode()))


def test_a_batch_asks_upstream_only_for_what_is_not_known(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = embedding_model

    def ask(*inputs: str, **fields: Any) -> Any:
        answer = proxy.post("/v1/embeddings", {"model": "e", "input": list(inputs)} | fields)
        assert answer.status == 200
        return answer

    assert ask("a", "bb").cache == "MISS"
    partial = ask("ccc", "bb", "ccc", "a")
    assert partial.cache == "MISS"
    assert [asked.json()["input"] for asked in upstream.asked] == [["a", "bb"], ["ccc"]]
    assert [item["index"] for item in partial.json()["data"]] == [0, 1, 2, 3]
    assert [item["embedding"] for item in partial.json()["data"]] == [embed(t) for t in ("ccc", "bb", "ccc", "a")]
    assert partial.json()["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    upstream.stop()
    assert ask("bb", "a").cache == "HIT"
    assert ask("a").json()["usage"]["total_tokens"] == 1
    single = proxy.post("/v1/embeddings", {"model": "e", "input": "bb"})
    assert (single.cache, single.json()["data"][0]["embedding"]) == ("HIT", embed("bb"))
    coded = ask("a", "ccc", encoding_format="base64")
    assert coded.cache == "HIT"
    assert struct.unpack("<3f", base64.b64decode(coded.json()["data"][1]["embedding"])) == tuple(embed("ccc"))


def test_the_openai_package_gets_embeddings_in_the_encoding_it_asks_for(
    openai_client: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.handler = embedding_model
    answers = [openai_client.embeddings.create(model="e", input=["a", "bb"]) for _ in range(2)]
    assert answers[0] == answers[1]
    assert [item.embedding for item in answers[1].data] == [embed("a"), embed("bb")]
    assert len(upstream.asked) == 1


def test_azure_names_the_model_in_its_path(proxy: Proxy, upstream: Upstream) -> None:
    body = {"messages": [{"role": "user", "content": "ping"}]}
    path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    headers = {"api-key": FAKE_KEY}
    assert [proxy.post(path, body, headers).cache for _ in range(2)] == ["MISS", "HIT"]
    assert upstream.asked[0].path == path
    assert proxy.post(path.replace("my-gpt", "other"), body, headers).cache == "MISS"
    assert proxy.stats()["models"].keys() == {"my-gpt", "other"}
