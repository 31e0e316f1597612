"""What agents ask with a subscription instead of an API key: hits, both shapes, and errors that they can read."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zstandard

from support import FAKE_KEY, STREAM_HEAD, Answer, Proxy, Upstream, always, chunk, completion, response

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "pong", "annotations": []}],
        }
    ],
}
CANDIDATE = {"content": {"role": "model", "parts": [{"text": "pong"}]}, "finishReason": "STOP"}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "ping"}]}]}
WRAPPED = {"response": {"candidates": [CANDIDATE]}, "traceId": "t"}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "pong"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
TURN = {"role": "user", "content": "ping"}
CALLS: dict[str, tuple[str, Any, Any]] = {
    "codex": ("/backend-api/codex/responses", {"model": "m", "input": [TURN], "store": False}, RESPONSE),
    "copilot chat": ("/chat/completions", {"model": "m", "messages": [TURN]}, completion("pong")),
    "copilot responses": ("/responses", {"model": "m", "input": [TURN]}, RESPONSE),
    "copilot messages": ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [TURN]}, MESSAGE),
    "code assist": ("/v1internal:generateContent", {"model": "m", "project": "p", "request": GEMINI}, WRAPPED),
    "count": ("/v1internal:countTokens", {"request": {"model": "models/m"} | GEMINI}, {"totalTokens": 7}),
}


def ask(proxy: Proxy, path: str, body: Any, account: str, **headers: str) -> Answer:
    sent = {
        "Authorization": f"Bearer {FAKE_KEY}-{account}",
        "chatgpt-account-id": account,
        "session-id": account,
        "Content-Encoding": "zstd",
        "Content-Type": "application/json",
        **headers,
    }
    return proxy.ask("POST", path, zstandard.compress(json.dumps(body).encode()), sent)


@pytest.mark.parametrize("name", CALLS)
def test_another_account_gets_the_recorded_answer(proxy: Proxy, upstream: Upstream, name: str) -> None:
    path, body, answer = CALLS[name]
    upstream.handler = always(response(json.dumps(answer).encode()))
    miss, hit = (ask(proxy, path, body, account) for account in ("account-one", "account-two"))
    assert (miss.cache, hit.cache) == ("MISS", "HIT")
    assert miss.body == hit.body == json.dumps(answer).encode()
    [asked] = upstream.asked
    assert asked.headers["chatgpt-account-id"] == "account-one"
    assert json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(asked.body)) == body


def test_both_shapes_of_code_assist_come_from_one_entry(proxy: Proxy, upstream: Upstream) -> None:
    stream = b"data: " + json.dumps(WRAPPED).encode() + b"\n\n"
    upstream.handler = always(STREAM_HEAD + chunk(stream) + chunk(b""))
    body = CALLS["code assist"][1]
    first, again = (ask(proxy, "/v1internal:streamGenerateContent?alt=sse", body, "a") for _ in range(2))
    assert (first.cache, again.cache) == ("MISS", "HIT")
    assert first.body == again.body == stream
    whole = ask(proxy, "/v1internal:generateContent", body, "a")
    assert (whole.cache, whole.json()) == ("HIT", WRAPPED)


@pytest.mark.parametrize(
    ("path", "status", "member"),
    [
        ("/backend-api/codex/responses", 400, "type"),
        ("/chat/completions", 404, "type"),
        ("/v1internal:generateContent", 400, "status"),
    ],
)
def test_an_error_offline_has_the_form_of_the_api(proxy: Proxy, path: str, status: int, member: str) -> None:
    answer = ask(proxy, path, {"model": "offline"}, "a", **{"X-Cache-Mode": "offline"})
    assert answer.status == status
    assert member in answer.json()["error"]
