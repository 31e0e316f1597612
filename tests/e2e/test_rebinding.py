"""Through a real proxy: a second run is answered from the first with its own values and its own credentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from credential_samples import TEXTS, VALUES
from support import Asked, Send, Upstream, chat_request, completion, response, running_proxy

ON = {"X-Cache-Rebind": "on"}
FIRST, SECOND = "/tmp/tmp.k3J9xQ2aLm", "/tmp/tmp.Zw81hTpB0c"


def events(*objects: dict[str, Any], named: bool = False) -> bytes:
    name = "event: {}\n" if named else ""
    return b"".join(f"{name.format(one.get('type'))}data: {json.dumps(one)}\n\n".encode() for one in objects)


def messages(text: str) -> dict[str, Any]:
    content, usage = [{"type": "text", "text": text}], {"input_tokens": 1, "output_tokens": 1}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return head | {"content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def message_events(text: str) -> bytes:
    half = len(text) // 2
    deltas = [{"type": "text_delta", "text": piece} for piece in (text[:half], text[half:])]
    return events(
        {"type": "message_start", "message": messages("") | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
        named=True,
    )


def responses(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}


def response_events(text: str) -> bytes:
    whole = responses(text)
    item, part = whole["output"][0], whole["output"][0]["content"][0]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    steps: list[dict[str, Any]] = [
        {"type": "response.created", "response": whole | {"status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": item | {"content": []}},
        {"type": "response.content_part.added", **place, "part": part | {"text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": letter} for letter in text),
        {"type": "response.output_text.done", **place, "text": text},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return events(*(step | {"sequence_number": at} for at, step in enumerate(steps)), named=True)


def gemini(text: str) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r1"}


def chat_chunks(text: str) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks = [head | {"choices": [{"index": 0, "delta": {"content": one}, "finish_reason": None}]} for one in text]
    end = head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return events(*chunks, end) + b"data: [DONE]\n\n"


CONTENT = [{"role": "user", "content": "use {}"}]
APIS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "chat": ("/v1/chat/completions", {"model": "m", "messages": CONTENT}, completion),
    "chat stream": ("/v1/chat/completions", {"model": "m", "messages": CONTENT, "stream": True}, chat_chunks),
    "messages": ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": CONTENT}, messages),
    "messages stream": (
        "/v1/messages",
        {"model": "m", "max_tokens": 9, "messages": CONTENT, "stream": True},
        message_events,
    ),
    "responses": ("/v1/responses", {"model": "m", "input": "use {}", "store": False}, responses),
    "responses stream": (
        "/v1/responses",
        {"model": "m", "input": "use {}", "store": False, "stream": True},
        response_events,
    ),
    "gemini": ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "use {}"}]}]}, gemini),
    "gemini stream": (
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": [{"parts": [{"text": "use {}"}]}]},
        lambda text: events(gemini(text)),
    ),
}


def filled(body: dict[str, Any], value: str) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads(json.dumps(body).replace("{}", value))
    return asked


def saying(answer: Any) -> bytes:
    """A provider's answer, JSON or a stream."""
    if isinstance(answer, bytes):
        return response(answer, content_type="text/event-stream")
    return response(json.dumps(answer).encode())


@pytest.mark.parametrize("api", APIS)
def test_the_second_run_is_answered_with_its_own_values(tmp_path: Path, upstream: Upstream, api: str) -> None:
    path, body, answer = APIS[api]

    async def handler(asked: Asked, send: Send) -> None:
        assert not {"x-cache-rebind", "x-cache-bind"} & asked.headers.keys()
        await send(saying(answer(f"wrote {FIRST}/a.txt")))

    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url) as proxy:
        assert proxy.post(path, filled(body, FIRST), ON).cache == "MISS"
        proxy.log.wait_for("200, stored")
        assert proxy.post(path, filled(body, SECOND), {"Cache-Control": "no-store"}).cache == "MISS", "off in `start`"
        found = proxy.post(path, filled(body, SECOND), ON)
        assert (found.cache, found.headers.get("x-computer-use-cache-rebound")) == ("HIT", "tmp 1"), found.headers
        assert "detail=rebound" in found.headers["cache-status"]
        told = found.body.decode() + _joined(found.body)
        assert SECOND in told
        assert FIRST not in told
        assert proxy.stats()["rebound"] == {"tmp": 1}
        assert b'computer_use_cache_rebound_total{kind="tmp"} 1.0' in proxy.ask("GET", "/metrics").body
        proxy.log.wait_for("rebound tmp 1")


def _joined(body: bytes) -> str:
    """The deltas of a stream, joined."""
    texts = []
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            delta = event.get("delta") or (event.get("choices") or [{}])[0].get("delta") or ""
            texts.append(delta if isinstance(delta, str) else delta.get("content") or delta.get("text") or "")
    return "".join(texts)


@pytest.mark.parametrize(
    ("header", "value"), [("X-Cache-Rebind", "perhaps"), ("X-Cache-Bind", "folder=/x"), ("X-Cache-Run", "")]
)
def test_a_bad_value_is_refused(tmp_path: Path, upstream: Upstream, header: str, value: str) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy:
        answer = proxy.chat(headers={header: value})
        assert answer.status == 400
        assert header in answer.json()["error"]["message"]


def test_a_refusal_is_reported_and_asks_upstream(tmp_path: Path, upstream: Upstream) -> None:
    async def handler(asked: Asked, send: Send) -> None:
        await send(saying(completion("It is due tomorrow.")))

    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url, CACHE_REBIND="on") as proxy:
        proxy.chat("It is 2026-11-24T07:54:38Z.")
        answer = proxy.chat("It is 2026-12-01T09:00:00Z.")
        assert answer.cache == "MISS"
        assert answer.headers["x-computer-use-cache-reason"].startswith("not rebound: a time or date is computed")
        proxy.log.wait_for("not rebound: a time or date is computed")


def test_two_homes_share_a_store(tmp_path: Path, upstream: Upstream) -> None:
    async def handler(asked: Asked, send: Send) -> None:
        await send(saying(completion("see /home/anna/shop/main.py")))

    upstream.handler = handler
    homes = ("cwd=/home/anna/shop,home=/home/anna", "cwd=/builds/shop,home=/builds")
    for bind, folder, expected in zip(homes, ("/home/anna/shop", "/builds/shop"), ("MISS", "HIT"), strict=True):
        with running_proxy(tmp_path, upstream.url, CACHE_REBIND="on", CACHE_BIND=bind) as proxy:
            answer = proxy.chat(f"The project is {folder}.")
            assert answer.cache == expected
            assert answer.json()["choices"][0]["message"]["content"] == f"see {folder}/main.py"


def test_credentials_stay_in_the_conversation_and_nowhere_else(tmp_path: Path, upstream: Upstream) -> None:
    async def handler(asked: Asked, send: Send) -> None:
        question = asked.json()["messages"][-1]["content"]
        value = next(value for kind, value in VALUES.items() if TEXTS[kind] in question)
        await send(saying(completion(f"It is {value}.")))

    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url, "-v") as proxy:
        for at, (kind, text) in enumerate(TEXTS.items()):
            assert proxy.chat(f"Case {at} is {text}").cache == "MISS"
            found = proxy.chat(f"Case {at} is {text}")
            assert found.cache == "HIT", kind
            assert found.json()["choices"][0]["message"]["content"] == f"It is {VALUES[kind]}."
            assert proxy.chat(f"Case {at}, another, is {text}").cache == "MISS"  # it is near another, which is told
        told = [proxy.ask("GET", path).body for path in ("/cache/stats", "/metrics", "/cache/entries")]
        assert proxy.stop() == 0
        proxy.reader.join(30)
        told.append("".join(proxy.log).encode())
    store = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    for kind, value in VALUES.items():
        for place in (store, *told):
            assert value.encode() not in place, kind


def test_a_stream_with_a_credential_is_replayed_with_the_callers_own(tmp_path: Path, upstream: Upstream) -> None:
    one, other = ("ghp_" + four * 9 for four in ("a1B2", "c3D4"))

    async def handler(asked: Asked, send: Send) -> None:
        await send(saying(chat_chunks(f"use {one}")))

    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url) as proxy:
        for secret, expected in ((one, "MISS"), (one, "HIT"), (other, "HIT")):
            answer = proxy.post("/v1/chat/completions", chat_request(f"it is {secret}", stream=True))
            assert (answer.cache, _joined(answer.body)) == (expected, f"use {secret}")
