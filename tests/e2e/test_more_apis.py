"""The APIs of Ollama, Cohere and Google, and OpenAI's calls of one shape, through their official clients: a miss, and
then the same answers in both shapes with the upstream gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import ollama
import openai
import pytest
from cohere import Client, ClientV2
from cohere.core.api_error import ApiError
from google import genai

from support import FAKE_KEY, Asked, Proxy, Send, Upstream, chunk, response

NDJSON = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n"
QUESTION: Any = [{"role": "user", "content": "Say pong."}]
SOUND = bytes(range(256)) * 40


def lines(*values: Any, content_type: bytes = b"application/x-ndjson") -> bytes:
    pieces = [json.dumps(value).encode() + b"\n" for value in values]
    return NDJSON % content_type + b"".join(map(chunk, [*pieces, b""]))


def events(*values: Any) -> bytes:
    pieces = [f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode() for value in values]
    return NDJSON % b"text/event-stream" + b"".join(map(chunk, [*pieces, b""]))


def answer(value: Any) -> bytes:
    return response(json.dumps(value).encode())


LINE = {"model": "llama", "created_at": "2026-11-01T10:00:00Z", "done": False}
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 4, "eval_count": 2}
COHERE_V1 = {"text": "pong", "generation_id": "g", "finish_reason": "COMPLETE"}


def said(content: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content}}


ANSWERS = {
    "/api/chat": lines(LINE | said("po"), LINE | said("ng"), LINE | said("") | END),
    "/api/generate": lines(LINE | {"response": "po"}, LINE | {"response": "ng"}, LINE | {"response": ""} | END),
    "/api/embed": answer({"model": "e", "embeddings": [[0.5, -1.0]]}),
    "/v2/chat": events(
        {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "po"}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "ng"}}}},
        {"type": "content-end", "index": 0},
        {"type": "message-end", "id": "c", "delta": {"finish_reason": "COMPLETE"}},
    ),
    "/v1/chat": lines(
        {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
        {"is_finished": False, "event_type": "text-generation", "text": "pong"},
        {"is_finished": True, "event_type": "stream-end", "response": COHERE_V1, "finish_reason": "COMPLETE"},
        content_type=b"application/stream+json",
    ),
    "/v2/embed": answer({"id": "1", "embeddings": {"int8": [[1, -7]]}, "texts": ["a"]}),
    "/v2/rerank": answer({"id": "1", "results": [{"index": 1, "relevance_score": 0.9}]}),
    "/v1beta/models/e:batchEmbedContents": answer({"embeddings": [{"values": [0.5, -1.0]}]}),
    "/v1beta/models/g:countTokens": answer({"totalTokens": 3}),
    "/v1/moderations": answer({"id": "m", "model": "o", "results": [{"flagged": True}]}),
    "/v1/responses/input_tokens": answer({"object": "response.input_tokens", "input_tokens": 7}),
    "/v1/images/generations": answer({"created": 1, "data": [{"b64_json": "AAA="}]}),
    "/v1/images/edits": answer({"created": 1, "data": [{"b64_json": "AAB="}]}),
    "/v1/audio/speech": response(SOUND, content_type="audio/mpeg"),
    "/v1/audio/transcriptions": answer({"text": "pong"}),
}


async def provider(asked: Asked, send: Send) -> None:
    await send(ANSWERS[asked.path.partition("?")[0]])


@dataclass(frozen=True)
class Clients:
    """The official clients, pointed at the proxy."""

    ollama: ollama.Client
    cohere: ClientV2
    cohere_v1: Client
    google: genai.Client
    openai: openai.OpenAI


@pytest.fixture
def clients(proxy: Proxy) -> Iterator[Clients]:
    url = f"http://127.0.0.1:{proxy.port}"
    options = genai.types.HttpOptions(base_url=url)
    with (
        httpx.Client() as http,
        ollama.Client(url) as local,
        openai.OpenAI(base_url=proxy.url, api_key=FAKE_KEY, max_retries=0) as openais,
        genai.Client(api_key=FAKE_KEY, vertexai=False, http_options=options) as google,
    ):
        cohere, cohere_v1 = (kind(FAKE_KEY, base_url=url, httpx_client=http) for kind in (ClientV2, Client))
        yield Clients(local, cohere, cohere_v1, google, openais)


def ollama_stream(clients: Clients) -> str:
    return "".join(part.message.content or "" for part in clients.ollama.chat("llama", QUESTION, stream=True))


def cohere_stream(clients: Clients) -> str:
    stream = clients.cohere.chat_stream(model="command", messages=QUESTION)
    return "".join(event.delta.message.content.text for event in stream if event.type == "content-delta")


def cohere_v1_stream(clients: Clients) -> str:
    stream = clients.cohere_v1.chat_stream(message="Say pong.")
    return "".join(event.text for event in stream if event.event_type == "text-generation")


type Call = tuple[Callable[[Clients], Any], Any]

CALLS: dict[str, Call] = {
    "ollama chat, streamed": (ollama_stream, "pong"),
    "ollama chat": (lambda clients: clients.ollama.chat("llama", QUESTION).message.content, "pong"),
    "ollama generate": (
        lambda clients: "".join(part.response for part in clients.ollama.generate("llama", "Say.", stream=True)),
        "pong",
    ),
    "ollama embed": (lambda clients: clients.ollama.embed("e", "a").embeddings, [[0.5, -1.0]]),
    "cohere chat, streamed": (cohere_stream, "pong"),
    "cohere chat": (
        lambda clients: clients.cohere.chat(model="command", messages=QUESTION).message.content[0].text,
        "pong",
    ),
    "cohere v1 chat, streamed": (cohere_v1_stream, "pong"),
    "cohere v1 chat": (lambda clients: clients.cohere_v1.chat(message="Say pong.").text, "pong"),
    "cohere embed": (
        lambda clients: (
            clients.cohere.embed(
                model="e", texts=["a"], input_type="search_query", embedding_types=["int8"]
            ).embeddings.int8
        ),
        [[1, -7]],
    ),
    "cohere rerank": (
        lambda clients: clients.cohere.rerank(model="r", query="a", documents=["b", "a"]).results[0].index,
        1,
    ),
    "gemini embeddings": (
        lambda clients: clients.google.models.embed_content(model="e", contents="a").embeddings[0].values,
        [0.5, -1.0],
    ),
    "gemini tokens": (lambda clients: clients.google.models.count_tokens(model="g", contents="a").total_tokens, 3),
    "moderation": (lambda clients: clients.openai.moderations.create(input="a").results[0].flagged, True),
    "openai tokens": (
        lambda clients: clients.openai.responses.input_tokens.count(model="g", input="a").input_tokens,
        7,
    ),
    "image": (lambda clients: clients.openai.images.generate(prompt="a cat").data[0].b64_json, "AAA="),
    "image edit": (
        lambda clients: clients.openai.images.edit(image=("a.png", SOUND), prompt="b").data[0].b64_json,
        "AAB=",
    ),
    "speech": (
        lambda clients: clients.openai.audio.speech.create(model="t", voice="alloy", input="pong").content,
        SOUND,
    ),
    "transcription": (
        lambda clients: clients.openai.audio.transcriptions.create(model="w", file=("a.wav", SOUND)).text,
        "pong",
    ),
}


def test_each_client_gets_the_same_answers_once_the_provider_is_gone(
    clients: Clients, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.handler = provider
    recorded = {name: call(clients) for name, (call, _) in CALLS.items()}
    assert recorded == {name: expected for name, (_, expected) in CALLS.items()}
    assert sorted(asked.path.partition("?")[0] for asked in upstream.asked) == sorted(ANSWERS), "one entry, two shapes"
    upstream.stop()
    assert {name: call(clients) for name, (call, _) in CALLS.items()} == recorded
    stats = proxy.stats()
    assert (stats["misses"], stats["bypasses"]) == (len(ANSWERS), {})


def test_a_client_gets_an_error_that_it_understands(clients: Clients, upstream: Upstream) -> None:
    upstream.stop()
    with pytest.raises(ollama.ResponseError, match="could not be reached"):
        ollama_stream(clients)
    with pytest.raises(ApiError) as failure:
        clients.cohere.chat(model="command", messages=QUESTION, request_options={"max_retries": 0})
    assert "could not be reached" in failure.value.body["message"]


def test_sound_reaches_its_followers_and_is_distinguished_from_an_error_page(proxy: Proxy, upstream: Upstream) -> None:
    pages = [response(b"<h1>Log in</h1>", content_type="text/html"), response(SOUND, content_type="audio/mpeg")]

    async def handler(asked: Asked, send: Send) -> None:
        await send(pages.pop(0))

    upstream.handler = handler
    body = {"model": "t", "input": "pong", "voice": "alloy"}
    answers = [proxy.post("/v1/audio/speech", body) for _ in range(3)]
    assert [each.cache for each in answers] == ["MISS", "MISS", "HIT"]
    assert [each.body for each in answers[1:]] == [SOUND, SOUND]
    assert answers[2].headers["content-type"] == "audio/mpeg"
