"""Verdicts: what every mode and control allows, what is taken out of a body, and which answers are never stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.cache.judging import Storable, judge_answer
from computer_use_cache.cache.policy import (
    body_bypass,
    model_verdict,
    read_controls,
    without_controls,
)
from computer_use_cache.errors import RequestError
from computer_use_cache.models import Bypass, Reason, Response, Shape, Skipped
from computer_use_cache.rebinding import Bindings
from computer_use_cache.settings import Settings

type Json = dict[str, Any]


def settings(**environment: str) -> Settings:
    return Settings.load(environment)


def allowed(headers: dict[str, str], body: Json, **environment: str) -> str | Reason:
    """What a request may do, as letters (read, write, upstream), or why it bypasses the cache."""
    verdict = read_controls(headers, settings(**environment))
    if bypass := verdict.bypass or body_bypass(body, settings(**environment)):
        return bypass.reason
    return "r" * verdict.read + "w" * verdict.write + "u" * verdict.upstream


CONTROLS: dict[str, tuple[dict[str, str], Json]] = {
    "none": ({}, {}),
    "no-cache": ({"cache-control": "no-cache"}, {}),
    "no-store": ({"cache-control": "max-age=5, No-Store"}, {}),
    "only-if-cached": ({"cache-control": "only-if-cached"}, {}),
    "bypass": ({"x-cache-bypass": "true"}, {}),
    "no bypass": ({"x-cache-bypass": "0"}, {}),
    "cache false": ({}, {"cache": False}),
    "cache true": ({}, {"cache": True}),
}
HEADER, MODE, REQUEST = Reason.HEADER, Reason.MODE, Reason.DISABLED_BY_REQUEST
VERDICTS: dict[str, tuple[str | Reason, ...]] = {
    "readwrite": ("rwu", "wu", "ru", "rw", HEADER, "rwu", REQUEST, "rwu"),
    "readonly": ("ru", "u", "ru", "r", HEADER, "ru", REQUEST, "ru"),
    "refresh": ("wu", "wu", "u", "w", HEADER, "wu", REQUEST, "wu"),
    "offline": ("r", "", "r", "r", HEADER, "r", REQUEST, "r"),
    "off": (MODE, MODE, MODE, MODE, HEADER, MODE, MODE, MODE),
}
MATRIX = [
    pytest.param(mode, control, verdict, id=f"{mode}, {control}")
    for mode, verdicts in VERDICTS.items()
    for control, verdict in zip(CONTROLS, verdicts, strict=True)
]


@pytest.mark.parametrize(("mode", "control", "verdict"), MATRIX)
def test_a_mode_and_a_control_together_decide(mode: str, control: str, verdict: str | Reason) -> None:
    headers, body = CONTROLS[control]
    assert allowed(headers, body, CACHE_MODE=mode) == verdict
    assert allowed({**headers, "x-cache-mode": mode.upper()}, body) == verdict


@pytest.mark.parametrize("wanted", list(VERDICTS))
def test_no_request_lifts_the_offline_mode(wanted: str) -> None:
    assert allowed({"x-cache-mode": wanted}, {}, CACHE_MODE="offline") == "r"


@pytest.mark.parametrize(
    ("body", "enabled", "disabled"),
    [
        ({}, "rwu", Reason.DISABLED),
        ({"cache": None}, "rwu", Reason.DISABLED),
        ({"cache": {"a": 1}}, "rwu", Reason.DISABLED),
        ({"cache": True}, "rwu", "rwu"),
        ({"cache": "on"}, "rwu", "rwu"),
        ({"cache": False}, REQUEST, REQUEST),
        ({"cache": 0}, REQUEST, REQUEST),
        ({"cache_control": {"enabled": True}}, "rwu", "rwu"),
        ({"cache_control": {"enabled": False}}, REQUEST, REQUEST),
        ({"cache_control": {"type": "ephemeral"}}, "rwu", Reason.DISABLED),
        ({"cache_control": False}, "rwu", Reason.DISABLED),
        ({"metadata": {"cache": True}}, "rwu", "rwu"),
        ({"metadata": {"cache": False}}, REQUEST, REQUEST),
        ({"metadata": {"cache_enabled": False}}, REQUEST, REQUEST),
        ({"metadata": {"run": False}}, "rwu", Reason.DISABLED),
        ({"cache": True, "metadata": {"cache": False}}, "rwu", "rwu"),
    ],
    ids=str,
)
def test_a_body_decides_for_itself_and_wins_over_the_setting(
    body: Json, enabled: str | Reason, disabled: str | Reason
) -> None:
    assert allowed({}, body, CACHE_ENABLED="1") == enabled
    assert allowed({}, body, CACHE_ENABLED="0") == disabled


BAD_HEADERS = [
    ("x-cache-bypass", "maybe"),
    ("x-cache-bypass", ""),
    ("x-cache-mode", "fast"),
    ("x-cache-mode", ""),
    ("x-cache-ttl", "-1"),
    ("x-cache-ttl", "1.5"),
    ("x-cache-ttl", "1h"),
    ("x-cache-ttl", ""),
    ("x-cache-ttl", "\u0661"),
    ("x-cache-ttl", "9" * 13),
    ("x-cache-sample", "0"),
    ("x-cache-sample", "-1"),
    ("x-cache-sample", "two"),
    ("x-cache-reject", ""),
    ("x-cache-reject", "0123abcd"),
    ("x-cache-reject", "A" * 64),
    ("x-cache-reject", "0" * 65),
    ("x-cache-namespace", ""),
    ("x-cache-namespace", "a\tb"),
    ("x-cache-namespace", "\u00e9"),
    ("x-cache-namespace", "n" * 201),
]


@pytest.mark.parametrize(("header", "text"), BAD_HEADERS)
def test_a_bad_control_header_is_refused_by_name(header: str, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_controls({header: text}, settings())
    assert caught.value.status == 400
    assert header in caught.value.message.lower()


@pytest.mark.parametrize(
    ("headers", "field", "value"),
    [
        ({}, "ttl", None),
        ({"x-cache-ttl": "3600"}, "ttl", 3600),
        ({"x-cache-ttl": "0"}, "ttl", 0),
        ({}, "sample", None),
        ({}, "rebinds", False),
        ({"x-cache-rebind": "on"}, "rebinds", True),
        ({"x-cache-bind": "cwd=/x,user=anna"}, "bindings", Bindings({"cwd": "/x", "user": "anna"})),
        ({"x-cache-run": "nightly 4"}, "run", "nightly 4"),
        ({"x-cache-sample": " 3 "}, "sample", 3),
        ({"x-cache-reject": " " + "0a" * 32}, "reject", "0a" * 32),
        ({}, "namespace", ""),
        ({"x-cache-namespace": "run 42"}, "namespace", "run 42"),
        ({"x-cache-namespace": "n" * 200}, "namespace", "n" * 200),
        ({}, "max_age", None),
        ({"cache-control": "no-transform, max-age=60"}, "max_age", 60),
        ({"cache-control": 'Max-Age="60"'}, "max_age", 60),
        ({"cache-control": "max-age=0"}, "max_age", 0),
        ({"cache-control": "max-age=soon"}, "max_age", None),
    ],
    ids=str,
)
def test_control_headers_give_their_values(headers: dict[str, str], field: str, value: object) -> None:
    controls = read_controls(headers, settings())
    assert getattr(controls, field) == value


BLOCK = {"type": "text", "cache_control": {"type": "ephemeral"}, "cache": True, "metadata": {"cache": True}}


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        ({"cache": False}, {}),
        ({"cache": None}, {}),
        ({"cache_control": {"enabled": False}}, {}),
        ({"cache_control": {"enabled": True, "type": "ephemeral"}}, {}),
        ({"metadata": {"cache": False, "cache_enabled": 1, "run": "7"}}, {"metadata": {"run": "7"}}),
        ({"metadata": {"cache": False}}, {"metadata": {}}),
        (
            {"cache": 1, "metadata": {"cache": 1, "a": 1}, "messages": [BLOCK]},
            {"metadata": {"a": 1}, "messages": [BLOCK]},
        ),
    ],
    ids=str,
)
def test_our_controls_are_removed_and_nothing_else_is(sent: Json, forwarded: Json) -> None:
    before = json.dumps(sent)
    assert without_controls({"model": "m", **sent}) == {"model": "m", **forwarded}
    assert json.dumps(sent) == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"cache_control": {"type": "ephemeral"}},
        {"cache_control": "x"},
        {"metadata": {"user_id": "u"}},
        {"metadata": "cache"},
        {"cache": {"ttl": 3}},
        {"cache": [False]},
        {"messages": [BLOCK], "stream": True, "user": "u"},
    ],
    ids=str,
)
def test_a_body_without_our_controls_is_the_same_object(body: Json) -> None:
    assert without_controls(body) is body


@pytest.mark.parametrize(
    ("model", "allow", "deny", "is_cached"),
    [
        ("gpt-5", "", "", True),
        ("", "", "", True),
        ("gpt-5", "gpt-*", "", True),
        ("gpt-5", "claude-*, gpt-?", "", True),
        ("gpt-5", "claude-*", "", False),
        ("", "claude-*", "", False),
        ("GPT-5", "gpt-*", "", False),
        ("gpt-5", "", "gpt-*", False),
        ("gpt-5", "gpt-*", "*-5", False),
        ("gpt-5", "", "gpt", True),
    ],
)
def test_lists_of_models_allow_and_deny(model: str, allow: str, deny: str, is_cached: bool) -> None:
    verdict = model_verdict(model, settings(CACHE_MODEL_ALLOWLIST=allow, CACHE_MODEL_DENYLIST=deny))
    assert verdict == (None if is_cached else Bypass(Reason.MODEL, model))


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def stream(*data: object, done: bool = True) -> bytes:
    frames = [b"data: " + dumped(item) + b"\n\n" for item in data]
    return b"".join(frames) + (b"data: [DONE]\n\n" if done else b"")


def named(*data: Json) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (item["type"].encode(), dumped(item)) for item in data)


JSON, SSE = "application/json", "text/event-stream; charset=utf-8"
ANSWER: Json = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
CHUNK: Json = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
START: Json = {"type": "message_start", "message": {"type": "message", "content": [], "stop_reason": "end_turn"}}
STOP: Json = {"type": "message_stop"}
CANDIDATE: Json = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}
UNFINISHED: Json = {"candidates": [{"content": {"parts": [{"text": "x"}]}}]}
EMBEDDED: Json = {"data": [{"index": 0, "embedding": [0.5]}]}


def response(body: bytes, kind: str = JSON, status: int = 200, **headers: str) -> Response:
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, {"content-type": kind, **lower}, body, 1.0)


def responses(status: str) -> Json:
    return {"status": status, "output": []}


SILENT = ("responses", "messages")
"""The APIs whose answers here say nothing."""
STORED = [
    ("chat_completions", response(dumped(ANSWER)), Shape.JSON),
    ("chat_completions", response(dumped(ANSWER), "application/problem+json"), Shape.JSON),
    ("chat_completions", response(dumped(ANSWER), content_length=str(len(dumped(ANSWER)))), Shape.JSON),
    ("chat_completions", response(dumped(ANSWER | {"error": None})), Shape.JSON),
    ("chat_completions", response(stream(CHUNK), SSE), Shape.SSE),
    ("completions", response(dumped({"choices": [{"text": "x"}]})), Shape.JSON),
    ("embeddings", response(dumped(EMBEDDED)), Shape.JSON),
    ("responses", response(dumped(responses("completed"))), Shape.JSON),
    ("responses", response(dumped(responses("incomplete"))), Shape.JSON),
    (
        "responses",
        response(named({"type": "response.completed", "response": responses("completed")}), SSE),
        Shape.SSE,
    ),
    (
        "responses",
        response(named({"type": "response.incomplete", "response": responses("incomplete")}), SSE),
        Shape.SSE,
    ),
    ("messages", response(dumped({"type": "message", "content": [], "stop_reason": "end_turn"})), Shape.JSON),
    ("messages", response(named(START, STOP), SSE), Shape.SSE),
    ("gemini", response(dumped(CANDIDATE)), Shape.JSON),
    ("gemini", response(stream(CANDIDATE, done=False), SSE), Shape.SSE),
    ("gemini", response(dumped([CANDIDATE])), Shape.ARRAY),
]


@pytest.mark.parametrize(("api", "answer", "shape"), STORED)
def test_a_complete_answer_is_stored_in_the_shape_it_came(api: str, answer: Response, shape: Shape) -> None:
    verdict = judge_answer(formats.by_name(api), answer, shape, settings())
    assert isinstance(verdict, Storable)
    assert (verdict.answer.shape, verdict.offline_only) == (shape, api in SILENT)


NEVER_STORED = [
    *(("chat_completions", response(dumped(ANSWER), status=status)) for status in (201, 204, 206, 302, 404, 429, 500)),
    ("chat_completions", response(stream(CHUNK, done=False), SSE)),
    ("chat_completions", response(stream(CHUNK)[:-8], SSE)),
    ("chat_completions", response(stream(), SSE)),
    ("chat_completions", response(b"", SSE)),
    ("chat_completions", response(b"")),
    ("chat_completions", response(dumped(ANSWER)[:-1])),
    ("chat_completions", response(b"[" * 100_000)),
    ("chat_completions", response(dumped([ANSWER]))),
    ("chat_completions", response(stream(CHUNK, {"error": {"message": "overloaded"}}), SSE)),
    ("chat_completions", response(stream(CHUNK, "text"), SSE)),
    ("chat_completions", response(dumped({"error": {"message": "overloaded"}}))),
    ("chat_completions", response(dumped(ANSWER | {"error": {"message": "overloaded"}}))),
    ("chat_completions", response(dumped({"choices": []}))),
    ("chat_completions", response(dumped({"choices": None}))),
    ("chat_completions", response(dumped({}))),
    ("chat_completions", response(dumped(ANSWER), content_length=str(len(dumped(ANSWER)) + 1))),
    ("chat_completions", response(dumped(ANSWER), "text/html")),
    ("chat_completions", response(dumped(ANSWER), "")),
    ("chat_completions", response(dumped(ANSWER), SSE)),
    ("chat_completions", response(stream(CHUNK), JSON)),
    ("completions", response(dumped({"choices": []}))),
    ("completions", response(stream({"choices": [{"text": "x"}]}, done=False), SSE)),
    ("embeddings", response(dumped({"data": []}))),
    *(
        ("responses", response(dumped(responses(status))))
        for status in ("failed", "in_progress", "cancelled", "queued", "")
    ),
    ("responses", response(dumped(responses("completed") | {"error": {"code": "x"}}))),
    ("responses", response(named({"type": "response.created", "response": responses("in_progress")}), SSE)),
    ("responses", response(named({"type": "response.failed", "response": responses("failed")}), SSE)),
    ("responses", response(named({"type": "error", "message": "x"}), SSE)),
    ("responses", response(stream({"type": "response.created", "response": responses("in_progress")}), SSE)),
    ("messages", response(dumped({"type": "error", "error": {"type": "overloaded_error"}}))),
    ("messages", response(named(START), SSE)),
    ("messages", response(named(STOP), SSE)),
    ("messages", response(named(START, {"type": "error", "error": {}}, STOP), SSE)),
    ("gemini", response(dumped({"candidates": []}))),
    ("gemini", response(dumped({"promptFeedback": {"blockReason": "SAFETY"}}))),
    ("gemini", response(stream(UNFINISHED, done=False), SSE)),
    ("gemini", response(dumped(CANDIDATE | {"error": {"code": 500}}))),
]


@pytest.mark.parametrize(("api", "answer"), NEVER_STORED)
def test_what_is_not_one_whole_answer_is_never_stored(api: str, answer: Response) -> None:
    assert isinstance(judge_answer(formats.by_name(api), answer, Shape.JSON, settings()), Skipped)


@pytest.mark.parametrize("body", [dumped([UNFINISHED]), dumped([CANDIDATE])[:-1], dumped([])])
def test_a_streamed_array_that_is_not_whole_is_never_stored(body: bytes) -> None:
    assert isinstance(judge_answer(formats.by_name("gemini"), response(body), Shape.ARRAY, settings()), Skipped)


@pytest.mark.parametrize(("limit", "is_stored"), [(0, True), (-1, False)])
def test_an_answer_over_the_limit_is_not_stored(limit: int, is_stored: bool) -> None:
    body = dumped(ANSWER)
    bounded = settings(CACHE_MAX_RESPONSE_CHARS=str(len(body) + limit))
    verdict = judge_answer(formats.by_name("chat_completions"), response(body), Shape.JSON, bounded)
    assert isinstance(verdict, Storable) is is_stored
