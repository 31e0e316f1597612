"""Code Assist: Gemini's API in an envelope, whose ids neither count nor are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import transcript, usage
from computer_use_cache.formats.code_assist import CodeAssist
from computer_use_cache.models import Event, Shape, Skip

CODE_ASSIST = CodeAssist()
ASKED = {"contents": [{"role": "user", "parts": [{"text": "ping"}]}], "systemInstruction": {"parts": [{"text": "Be."}]}}
REQUEST = {"model": "gemini-test", "project": "p-1", "user_prompt_id": "u-1", "request": ASKED | {"session_id": "s-1"}}


def candidate(*texts: str, **fields: Any) -> dict[str, Any]:
    parts = [{"text": text} for text in texts]
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0} | fields]}


USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
LAST = candidate("lo", finishReason="STOP") | {"usageMetadata": USAGE}
CHUNKS: list[dict[str, Any]] = [{"response": candidate("hel"), "traceId": "t"}, {"response": LAST, "traceId": "t"}]
ANSWER = {"response": candidate("hello", finishReason="STOP") | {"usageMetadata": USAGE}, "traceId": "t"}


def events(chunks: list[dict[str, Any]]) -> list[Event]:
    return [Event("", json.dumps(chunk).encode()) for chunk in chunks]


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/v1internal:generateContent", ""),
        ("/v1internal:streamGenerateContent", ""),
        ("/v1internal:countTokens", "countTokens"),
        ("/v1internal:loadCodeAssist", None),
        ("/v1internal:onboardUser", None),
        ("/v1beta/models/m:generateContent", None),
    ],
)
def test_only_the_methods_of_a_model_are_cached(path: str, resource: str | None) -> None:
    assert CODE_ASSIST.match(path) == resource
    assert formats.of_client(path, path, ()).error.__func__ is CODE_ASSIST.error.__func__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"enabled_credit_types": ["one"]}, True),
        ({"model": "gemini-other"}, False),
        ({"request": ASKED | {"contents": []}}, False),
        ({"request": ASKED | {"model": "gemini-other"}}, False),  # hides nothing of what stands beside it
    ],
)
def test_the_request_inside_and_the_model_are_the_question(change: dict[str, Any], is_same: bool) -> None:
    asked = REQUEST | {"request": ASKED}
    assert (CODE_ASSIST.key_body(asked) == CODE_ASSIST.key_body(asked | change)) is is_same


def test_a_stream_and_a_json_answer_are_the_same_answer() -> None:
    assert CODE_ASSIST.assemble(events(CHUNKS)) == ANSWER
    [whole] = CODE_ASSIST.explode(ANSWER, with_usage=True)
    assert json.loads(whole.data) == ANSWER
    assert CODE_ASSIST.check_events(events(CHUNKS)) == CODE_ASSIST.check_answer(ANSWER)


def test_an_answer_to_a_count_is_good() -> None:
    assert not CODE_ASSIST.check_answer({"totalTokens": 0}).is_silent


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"error": {"code": 429}}, Skip.ERROR),
        (ANSWER | {"error": {"code": 500}}, Skip.ERROR),
        ({"response": LAST | {"error": {"code": 500}}}, Skip.ERROR),
        ({"response": candidate("hel")}, Skip.UNFINISHED),
        ({"response": {"promptFeedback": {"blockReason": "SAFETY"}}}, None),
        ({"traceId": "t"}, None),
        ({"totalTokens": "many"}, None),
    ],
)
def test_an_answer_that_failed_or_is_not_whole_is_not_good(answer: dict[str, Any], why: Skip | None) -> None:
    for check in (lambda: CODE_ASSIST.check_answer(answer), lambda: CODE_ASSIST.check_events(events([answer]))):
        with pytest.raises(FormatError) as caught:
            check()
        assert why is None or caught.value.reason is why


def test_what_is_shown_is_the_conversation() -> None:
    shown = transcript.of_request(CODE_ASSIST, REQUEST)
    assert "── [0] user" in shown
    assert "── systemInstruction" in shown
    answered = transcript.of_answer(CODE_ASSIST, ANSWER)
    assert "hello" in answered
    assert "promptTokenCount 3" in answered


def test_a_hit_can_have_no_usage() -> None:
    [zeroed] = usage.zeroed(CODE_ASSIST, json.dumps(ANSWER).encode(), Shape.JSON)
    assert set(json.loads(zeroed)["response"]["usageMetadata"].values()) == {0}
