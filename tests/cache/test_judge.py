"""An answer is stored only when it is good: each way of failing, in every API that has it, as JSON and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.cache import judging
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.judging import Storable
from computer_use_cache.models import Entry, Request, Response, Shape, Skip, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

type Json = dict[str, Any]

NOW = 1_800_000_000.0
KINDS = {Shape.JSON: "application/json", Shape.SSE: "text/event-stream"}
ROUTES = {"chat_completions": "/chat/completions", "completions": "/completions", "messages": "/messages"}


def sse(*events: Json | str, named: bool = False) -> bytes:
    frames = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
        frames.append(f"{name}data: {data}\n\n")
    return "".join(frames).encode()


# An answer of each API around the one thing that a test is about. A `message` or a `content` is the API's own.


def chat(message: Json, finish: str | None = "stop", **choice: Any) -> bytes:
    member = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    return json.dumps({"choices": [member | choice]}).encode()


def chat_stream(delta: Json, finish: str | None = "stop", *, done: bool = True, **choice: Any) -> bytes:
    chunks: list[Json | str] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant"} | delta, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish} | choice]},
    ]
    return sse(*chunks, *(["[DONE]"] if done else []))


def completions(text: str, finish: str | None = "stop", **choice: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": finish} | choice]}).encode()


def messages(*content: Json, stop: str | None = "end_turn", **members: Any) -> bytes:
    return json.dumps({"type": "message", "content": content, "stop_reason": stop} | members).encode()


def messages_stream(*content: Json, stop: str | None = "end_turn") -> bytes:
    return sse(
        {"type": "message_start", "message": {"type": "message", "content": []}},
        *({"type": "content_block_start", "index": at, "content_block": block} for at, block in enumerate(content)),
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {}},
        {"type": "message_stop"},
        named=True,
    )


def responses(*output: Json, status: str = "completed", **members: Any) -> bytes:
    return json.dumps({"status": status, "output": output} | members).encode()


def responses_stream(*output: Json, status: str = "completed", **members: Any) -> bytes:
    response = json.loads(responses(*output, status=status, **members))
    return sse({"type": f"response.{status}", "response": response}, named=True)


def gemini(*parts: Json, finish: Any = "STOP", **candidate: Any) -> bytes:
    return json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": finish} | candidate]}).encode()


def gemini_stream(*parts: Json, finish: Any = "STOP", **candidate: Any) -> bytes:
    return sse(json.loads(gemini(*parts, finish=finish, **candidate)))


TEXT = {"type": "text", "text": "hi"}
SAID = {"type": "message", "status": "completed", "content": [{"type": "output_text", "text": "hi"}]}
PART = {"text": "hi"}
ERROR = {"code": 502, "message": "the provider failed"}


def judged(api: str, body: bytes, *, ended: bool = False, **environment: str) -> Storable | Skipped:
    shape = Shape.SSE if body.startswith((b"data:", b"event:")) else Shape.JSON
    answer = Response(200, {"content-type": KINDS[shape]}, body, 1.0, ended=ended)
    return judging.judge_answer(formats.by_name(api), answer, shape, Settings.load(environment))


def reason_for(api: str, body: bytes, **more: Any) -> str | None:
    verdict = judged(api, body, **more)
    return verdict.reason if isinstance(verdict, Skipped) else None


GOOD = {
    "chat": ("chat_completions", chat({"content": "hi"})),
    "chat stream": ("chat_completions", chat_stream({"content": "hi"})),
    "a chat without finish reasons": ("chat_completions", b'{"choices": [{"message": {"content": "hi"}}]}'),
    "an unknown finish reason": ("chat_completions", chat({"content": "hi"}, "eos_token")),
    "completions": ("completions", completions("hi")),
    "messages": ("messages", messages(TEXT)),
    "messages stream": ("messages", messages_stream(TEXT)),
    "responses": ("responses", responses(SAID)),
    "responses stream": ("responses", responses_stream(SAID)),
    "gemini": ("gemini", gemini(PART)),
    "gemini stream": ("gemini", gemini_stream(PART)),
    "embeddings": ("embeddings", b'{"data": [{"index": 0, "embedding": [0.5]}]}'),
}


@pytest.mark.parametrize(("api", "body"), GOOD.values(), ids=GOOD)
def test_a_good_answer_is_stored(api: str, body: bytes) -> None:
    verdict = judged(api, body)
    assert isinstance(verdict, Storable)
    assert not verdict.offline_only


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"),
        *("text/json", "text/plain"),
    ],
)
def test_a_good_answer_is_known_by_what_it_says(content_type: str) -> None:
    answer = Response(200, {"content-type": content_type}, chat({"content": "hi"}), 1.0)
    found = judging.judge_answer(formats.by_name("chat_completions"), answer, Shape.JSON, Settings.load({}))
    assert isinstance(found, Storable)


@pytest.mark.parametrize("content_type", ["text/html", "image/png", "application/xml", ""])
def test_a_page_is_no_answer(content_type: str) -> None:
    answer = Response(200, {"content-type": content_type}, chat({"content": "hi"}), 1.0)
    found = judging.judge_answer(formats.by_name("chat_completions"), answer, Shape.JSON, Settings.load({}))
    assert isinstance(found, Skipped)
    assert found.reason is Skip.CONTENT_TYPE


ERRORS = {
    "in a choice": ("chat_completions", chat({"content": "half"}, error=ERROR)),
    "in a streamed choice": ("chat_completions", chat_stream({"content": "half"}, error=ERROR)),
    "in a message": ("chat_completions", chat({"content": "half", "error": ERROR})),
    "in a delta": ("chat_completions", chat_stream({"content": "half", "error": ERROR})),
    "in a chunk": ("chat_completions", sse(json.loads(chat({"content": "half"})), {"error": ERROR}, "[DONE]")),
    "an event of that name": ("chat_completions", b"event: error\n" + chat_stream({"content": "half"})),
    "an object of that kind": ("chat_completions", chat_stream({"content": "x"}) + sse({"object": "error"})),
    "MiniMax": ("chat_completions", b'{"choices": [{"message": {}}], "base_resp": {"status_code": 1013}}'),
    "in a completion": ("completions", completions("half", error=ERROR)),
    "in a message's block": ("messages", messages(TEXT, {"type": "tool_use", "error": ERROR})),
    "a block of that type": ("messages", messages_stream(TEXT, {"type": "error"})),
    "beside a message": ("messages", messages(TEXT, error=ERROR)),
    "in an item": ("responses", responses(SAID, {"type": "mcp_call", "error": "no"})),
    "in a streamed item": ("responses", responses_stream(SAID, {"type": "mcp_call", "error": "no"})),
    "in a candidate": ("gemini", gemini(PART, error=ERROR)),
    "in a streamed candidate": ("gemini", gemini_stream(PART, error=ERROR)),
    "in an embedding": ("embeddings", b'{"data": [{"index": 0, "embedding": [0.5], "error": "no"}]}'),
}


@pytest.mark.parametrize(("api", "body"), ERRORS.values(), ids=ERRORS)
def test_an_error_inside_a_200_is_not_stored(api: str, body: bytes) -> None:
    assert reason_for(api, body) == Skip.ERROR


WORDS = ("error", "network_error", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL", "abort", "upstream-error")
FAILED = [
    *(("chat_completions", chat({"content": "half"}, word)) for word in WORDS),
    *(("chat_completions", chat_stream({"content": "half"}, word)) for word in WORDS),
    ("chat_completions", chat({"content": "half"}, native_finish_reason="error")),
    ("chat_completions", chat_stream({"content": "half"}, native_finish_reason="OTHER")),
    *(("completions", completions("half", word)) for word in WORDS),
    *(("messages", messages(TEXT, stop=word)) for word in WORDS),
    *(("messages", messages_stream(TEXT, stop=word)) for word in WORDS),
    *(("responses", responses(SAID, status=status)) for status in ("failed", "cancelled")),
    *(("responses", responses(SAID, status="incomplete", incomplete_details={"reason": word})) for word in WORDS),
    ("responses", responses(SAID, {"type": "image_generation_call", "status": "failed"})),
    *(("gemini", gemini(PART, finish=word)) for word in (*WORDS, "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE")),
    *(("gemini", gemini_stream(PART, finish=word)) for word in ("OTHER", "NO_IMAGE", 9, 10)),
]


@pytest.mark.parametrize(("api", "body"), FAILED)
def test_a_finish_reason_that_means_failure_is_not_stored(api: str, body: bytes) -> None:
    assert reason_for(api, body) == Skip.FAILED


UNFINISHED = {
    "[DONE] without a finish reason": ("chat_completions", chat_stream({"content": "half"}, None)),
    "null": ("chat_completions", chat({"content": "half"}, None)),
    "one of two choices": (
        "chat_completions",
        chat_stream({"content": "x"}, done=False) + sse({"choices": [{"index": 1, "delta": {}}]}, "[DONE]"),
    ),
    "a completion": ("completions", completions("half", None)),
    "a message without stop reason": ("messages", messages(TEXT, stop=None)),
    "a streamed message without stop reason": ("messages", messages_stream(TEXT, stop=None)),
    "an item at work": ("responses", responses(SAID, {"type": "web_search_call", "status": "searching"})),
    "a response at work": ("responses", responses(SAID, status="in_progress")),
    "a candidate": ("gemini", gemini(PART, finish=None)),
    "an unspecified reason": ("gemini", gemini(PART, finish="FINISH_REASON_UNSPECIFIED")),
    "a streamed candidate": ("gemini", gemini_stream(PART, finish=None)),
}


@pytest.mark.parametrize(("api", "body"), UNFINISHED.values(), ids=UNFINISHED)
def test_what_never_finished_is_not_stored_however_cleanly_it_ends(api: str, body: bytes) -> None:
    assert reason_for(api, body, ended=True) == Skip.UNFINISHED


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("chat_completions", '{"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "score": %s}]}'),
        ("embeddings", '{"data": [{"index": 0, "embedding": [%s]}]}'),
        ("gemini", '{"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP", "avg": %s}]}'),
        ("messages", '{"type": "message", "content": [], "stop_reason": "end_turn", "x": %s}'),
        ("responses", '{"status": "completed", "output": [], "x": %s}'),
        (
            "chat_completions",
            'data: {"choices": [{"delta": {}, "finish_reason": "stop", "p": %s}]}\n\ndata: [DONE]\n\n',
        ),
    ],
)
def test_anything_but_json_is_not_stored(api: str, body: str, number: str) -> None:
    assert reason_for(api, (body % number).encode()) == Skip.NOT_JSON
    assert reason_for(api, (body % 1).encode()) is None


@pytest.mark.parametrize("coding", ["gzip", "br", "made-up"])
def test_a_body_that_is_still_encoded_is_not_stored(coding: str) -> None:
    answer = Response(200, {"content-type": "application/json", "content-encoding": coding}, GOOD["chat"][1], 1.0)
    verdict = judging.judge_answer(formats.by_name("chat_completions"), answer, Shape.JSON, Settings.load({}))
    assert verdict == Skipped(Skip.CODING, Skip.CODING)


@pytest.mark.parametrize(
    ("done", "ended", "is_stored"),
    [(True, False, True), (True, True, True), (False, True, True), (False, False, False)],
)
@pytest.mark.parametrize("api", ["chat_completions", "completions"])
def test_a_stream_is_whole_by_its_mark_or_by_a_clean_end(api: str, done: bool, ended: bool, is_stored: bool) -> None:
    body = chat_stream({"content": "x"}, done=done, text="x")
    assert isinstance(judged(api, body, ended=ended), Storable) is is_stored


SILENT = {
    "empty text": ("chat_completions", chat({"content": ""})),
    "null": ("chat_completions", chat({"content": None, "refusal": None, "tool_calls": [], "annotations": [1]})),
    "white space": ("chat_completions", chat({"content": " \n"})),
    "an empty part": ("chat_completions", chat({"content": [{"type": "text", "text": ""}]})),
    "a filtered answer": ("chat_completions", chat({"content": None}, "content_filter")),
    "a stream": ("chat_completions", chat_stream({"content": ""})),
    "an empty completion": ("completions", completions("")),
    "no block": ("messages", messages()),
    "an empty block": ("messages", messages({"type": "text", "text": ""})),
    "a stream of an empty block": ("messages", messages_stream({"type": "text", "text": ""})),
    "no item": ("responses", responses()),
    "a streamed response without items": ("responses", responses_stream()),
    "an empty message": ("responses", responses({"type": "message", "content": [{"type": "output_text", "text": ""}]})),
    "no part": ("gemini", gemini()),
    "an empty part of a candidate": ("gemini", gemini({"text": ""})),
    "no content": ("gemini", gemini(finish="SAFETY", content={})),
    "a streamed candidate without parts": ("gemini", gemini_stream()),
}


@pytest.mark.parametrize(("api", "body"), SILENT.values(), ids=SILENT)
def test_an_answer_that_says_nothing_is_for_offline_mode_only(api: str, body: bytes) -> None:
    verdict = judged(api, body)
    assert isinstance(verdict, Storable)
    assert verdict.offline_only


SPEAKING = {
    "a tool call": ("chat_completions", chat({"content": None, "tool_calls": [{"function": {"name": "f"}}]})),
    "a function call": ("chat_completions", chat({"function_call": {"name": "f"}})),
    "a refusal": ("chat_completions", chat({"content": "", "refusal": "no"})),
    "reasoning": ("chat_completions", chat({"content": "", "reasoning_content": "hm"})),
    "sound": ("chat_completions", chat({"content": None, "audio": {"id": "a", "data": "AA=="}})),
    "pictures": ("chat_completions", chat({"content": "", "images": [{"image_url": {"url": "data:,x"}}]})),
    "one of two choices": (
        "chat_completions",
        json.dumps({"choices": [json.loads(chat({"content": text}))["choices"][0] for text in ("", "x")]}).encode(),
    ),
    "white space to fill in": ("completions", completions("\n")),
    "tool use": ("messages", messages({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
    "thinking": ("messages", messages({"type": "thinking", "thinking": "", "signature": "abc"})),
    "redacted thinking": ("messages", messages_stream({"type": "redacted_thinking", "data": "abc"})),
    "a function call item": ("responses", responses({"type": "function_call", "name": "f"})),
    "a reasoning item": ("responses", responses({"type": "reasoning", "id": "rs_1", "summary": []})),
    "a refusing item": ("responses", responses({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]})),
    "a function call part": ("gemini", gemini({"functionCall": {"name": "f"}})),
    "an inline picture": ("gemini", gemini({"inlineData": {"mimeType": "image/png", "data": "AA=="}})),
}


@pytest.mark.parametrize(("api", "body"), SPEAKING.values(), ids=SPEAKING)
def test_anything_said_is_an_answer(api: str, body: bytes) -> None:
    verdict = judged(api, body)
    assert isinstance(verdict, Storable)
    assert not verdict.offline_only


ENDINGS = {
    "length": [
        ("chat_completions", chat({"content": "x"}, "length")),
        ("chat_completions", chat_stream({"content": "x"}, "length")),
        ("completions", completions("x", "length")),
        ("messages", messages(TEXT, stop="max_tokens")),
        ("messages", messages_stream(TEXT, stop="max_tokens")),
        ("responses", responses(SAID, status="incomplete", incomplete_details={"reason": "max_output_tokens"})),
        ("gemini", gemini(PART, finish="MAX_TOKENS")),
        ("gemini", gemini_stream(PART, finish=2)),
    ],
    "content_filter": [
        ("chat_completions", chat({"content": "x"}, "content_filter")),
        ("chat_completions", chat({"content": "x"}, "sensitive")),
        ("responses", responses_stream(SAID, status="incomplete", incomplete_details={"reason": "content_filter"})),
        ("gemini", gemini(PART, finish="SAFETY")),
    ],
    "refusal": [
        ("chat_completions", chat({"refusal": "no"})),
        ("chat_completions", chat_stream({"refusal": "no"})),
        ("messages", messages(TEXT, stop="refusal")),
        ("responses", responses({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]})),
    ],
}


@pytest.mark.parametrize(
    ("ending", "api", "body"), [(ending, *answer) for ending, answers in ENDINGS.items() for answer in answers]
)
def test_cache_skip_names_endings_that_are_not_stored(ending: str, api: str, body: bytes) -> None:
    assert reason_for(api, body) is None
    assert reason_for(api, body, CACHE_SKIP=f" {ending.upper()} ") == Skip.CHOSEN
    others = ",".join(ENDINGS.keys() - {ending})
    assert reason_for(api, body, CACHE_SKIP=others) is None


@pytest.mark.parametrize(
    ("status", "body", "is_named"),
    [
        (400, {"error": {"code": "invalid_encrypted_content", "message": "could not be verified"}}, True),
        (404, {"error": {"message": "Item with id 'rs_1' not found."}}, True),
        (400, {"error": {"message": "Previous response with id 'resp_1' not found."}}, True),
        (400, {"error": {"message": "max_tokens is too large"}}, False),
        (500, {"error": {"message": "Item with id 'rs_1' not found."}}, False),
    ],
)
def test_a_history_of_another_key_is_named_with_its_cure(status: int, body: Json, is_named: bool) -> None:
    answer = Response(status, {"content-type": "application/json"}, json.dumps(body).encode(), 1.0)
    for scope, is_cured in (("shared", False), ("credential", True)):
        settings = Settings.load({"CACHE_SCOPE": scope})
        verdict = judging.judge_answer(formats.by_name("responses"), answer, Shape.JSON, settings)
        assert isinstance(verdict, Skipped)
        assert verdict.reason == Skip.STATUS
        assert ("CACHE_SCOPE=credential" in verdict.detail) is (is_named and not is_cured)


# -- through the store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "store", 2**24)
    yield store
    store.close()


def cache(store: DiskStore, **environment: str) -> Cache:
    return Cache(Settings.load(environment), store, loopback=True)


def request(api: str = "chat_completions", headers: Mapping[str, str] | None = None, **fields: Any) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return Request("https://api.example/v1", ROUTES[api], (), headers or {}, json.dumps(body).encode())


def keep(core: Cache, asked: Request, body: bytes, now: float = NOW) -> Entry | Skipped:
    answer = Response(200, {"content-type": "application/json"}, body, 1.0)
    entry = core.judge(core.plan(asked), answer, now)
    if isinstance(entry, Entry):
        core.keep(entry, now)
    return entry


def test_a_silent_answer_is_a_hit_offline_and_asked_again_live(store: DiskStore) -> None:
    live, offline = cache(store), cache(store, CACHE_MODE="offline")
    silent = keep(live, request(), chat({"content": ""}))
    assert not isinstance(live.lookup(live.plan(request()), NOW), Entry)
    assert offline.lookup(offline.plan(request()), NOW) == silent
    spoken = keep(live, request(), chat({"content": "good"}))
    assert live.lookup(live.plan(request()), NOW) == spoken
    keep(live, request(), chat({"content": ""}), NOW + 1)
    assert live.lookup(live.plan(request()), NOW + 1) == spoken


def test_a_silent_answer_is_not_served_when_the_upstream_fails(store: DiskStore) -> None:
    core = cache(store, CACHE_STALE_IF_ERROR_SECONDS="600", CACHE_TTL_SECONDS="10")
    keep(core, request(), chat({"content": ""}))
    assert core.lookup_stale(core.plan(request()), NOW + 20) is None


EXPIRING = {
    "a container": ("messages", messages(TEXT, container={"id": "c", "expires_at": "2027-01-15T08:01:40Z"})),
    "a container, in seconds": ("messages", messages(TEXT, container={"id": "c", "expires_at": NOW + 100})),
    "a spoken answer": ("chat_completions", chat({"audio": {"id": "a", "data": "AA==", "expires_at": int(NOW) + 100}})),
    "an Azure link": (
        "chat_completions",
        chat({"images": [{"image_url": {"url": "https://x.example/a?se=2027-01-15T08%3A01%3A40Z&sig=abc"}}]}),
    ),
    "an Amazon link": (
        "chat_completions",
        chat({"images": [{"url": "https://x.example/a?X-Amz-Date=20270115T080000Z&X-Amz-Expires=100"}]}),
    ),
    "a CloudFront link": (
        "chat_completions",
        chat({"images": [{"url": f"https://x.example/?Expires={NOW + 100:.0f}"}]}),
    ),
}


@pytest.mark.parametrize(("api", "body"), EXPIRING.values(), ids=EXPIRING)
@pytest.mark.parametrize("ttl", ["0", "3600"])
def test_what_names_something_that_expires_is_never_served_after_it(
    store: DiskStore, ttl: str, api: str, body: bytes
) -> None:
    core = cache(store, CACHE_TTL_SECONDS=ttl, CACHE_STALE_IF_ERROR_SECONDS="3600")
    asked = request(api)
    assert keep(core, asked, body) == core.lookup(core.plan(asked), NOW + 99)
    assert not isinstance(core.lookup(core.plan(asked), NOW + 101), Entry)
    assert core.lookup_stale(core.plan(asked), NOW + 101) is None
    late = keep(core, asked, body, NOW + 101)
    assert late == Skipped(Skip.EXPIRED, Skip.EXPIRED)


@pytest.mark.parametrize(
    "body",
    [
        chat({"tool_calls": [{"function": {"name": "f", "arguments": '{"expires_at": 1900000000}'}}]}),
        chat({"content": "https://x.example/?Expires=1900000000"}),
        json.dumps(json.loads(chat({"content": "x"})) | {"metadata": {"expires_at": 1900000000}}).encode(),
        json.dumps(json.loads(chat({"content": "x"})) | {"expires_at": 10**400}).encode(),
        json.dumps(json.loads(chat({"content": "x"})) | {"url": "https://x.example/?Expires=" + "9" * 5000}).encode(),
    ],
)
def test_what_the_model_or_the_client_wrote_and_what_is_no_time_expires_nothing(body: bytes) -> None:
    verdict = judged("chat_completions", body)
    assert isinstance(verdict, Storable)
    assert verdict.usable_until is None
