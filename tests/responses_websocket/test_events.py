"""The events that a client gets for an HTTP answer, however that ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from computer_use_cache.formats import sse
from computer_use_cache.formats.responses import Responses
from computer_use_cache.responses_websocket.events import AnswerEvents

ANSWER = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    ],
}
EVENTS = Responses().explode(ANSWER, with_usage=True)
STREAM = b"".join(sse.encode(EVENTS))
JSON, SSE = {"content-type": "application/json"}, {"content-type": "text/event-stream; charset=utf-8"}


def told(body: bytes, status: int = 200, headers: dict[str, str] = SSE, lane: str | None = None) -> list[Any]:
    """The events for an answer that arrives whole."""
    answer = AnswerEvents(lane)
    answer.begin(status, headers)
    return [json.loads(data) for data in (*answer.receive(body), *answer.end())]


def test_the_events_of_a_stream_pass_unchanged_wherever_it_is_cut() -> None:
    for cut in range(len(STREAM)):
        answer = AnswerEvents(None)
        answer.begin(200, SSE)
        passed = [*answer.receive(STREAM[:cut]), *answer.receive(STREAM[cut:]), *answer.end()]
        assert passed == [event.data for event in EVENTS]
        assert Responses().assemble(answer.to_continue) == ANSWER


def test_events_that_the_api_does_not_have_are_left_out() -> None:
    noise = b": ping\n\ndata: [DONE]\n\ndata: 7\n\ndata: {}\n\n"
    assert told(noise + STREAM + noise) == [json.loads(event.data) for event in EVENTS]


def test_events_name_their_lane() -> None:
    events = told(STREAM, lane='a "lane"')
    assert [event.pop("stream_id") for event in events] == ['a "lane"'] * len(EVENTS)
    assert events == [json.loads(event.data) for event in EVENTS]


def test_an_answer_in_one_piece_becomes_events() -> None:
    assert told(json.dumps(ANSWER).encode(), headers=JSON) == [json.loads(event.data) for event in EVENTS]


@pytest.mark.parametrize(
    "end",
    [b'{"type":"response.failed","response":{"id":"r","status":"failed"}}', b'{"type":"error","message":"overloaded"}'],
)
def test_an_error_inside_a_stream_passes_and_cannot_be_continued(end: bytes) -> None:
    answer = AnswerEvents(None)
    answer.begin(200, SSE)
    assert [*answer.receive(b"data: " + end + b"\n\n"), *answer.end()] == [end]
    assert not any(event.name == "response.completed" for event in answer.to_continue)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (429, {"error": {"type": "usage_limit_reached", "plan": "p"}}, {"type": "usage_limit_reached", "plan": "p"}),
        (401, {"detail": "Unauthorized"}, {"type": "authentication_error", "message": "Unauthorized"}),
        (500, {"error": "text"}, {"type": "server_error", "message": '{"error": "text"}'}),
        (404, {}, {"type": "invalid_request_error", "message": "{}"}),
    ],
)
def test_an_http_error_becomes_an_error_event(status: int, body: Any, error: Any) -> None:
    headers = JSON | {"retry-after": "7", "set-cookie": "c", "content-length": "9"}
    [event] = told(json.dumps(body).encode(), status, headers)
    assert (event["type"], event["status"], event["headers"]) == ("error", status, {"retry-after": "7"})
    assert event["error"] | error == event["error"]


def test_an_error_that_is_not_json_is_quoted() -> None:
    [event] = told(b"<html>Bad gateway" + b"x" * 5000, 502, {"content-type": "text/html"}, lane="a")
    assert event["stream_id"] == "a"
    assert event["error"]["message"].startswith("<html>Bad gateway")
    assert len(event["error"]["message"]) == 1000


@pytest.mark.parametrize(
    "body", [b"", STREAM[: len(STREAM) // 2], b"data: [DONE]\n\n"], ids=["nothing", "half", "only [DONE]"]
)
def test_an_answer_without_an_end_is_an_error(body: bytes) -> None:
    *_, last = told(body)
    assert (last["type"], last["status"], last["error"]["code"]) == ("error", 502, "upstream_request_failed")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id": "resp_1"}'])
def test_a_success_that_is_not_a_response_is_an_error(body: bytes) -> None:
    [event] = told(body, headers=JSON)
    assert (event["type"], event["status"]) == ("error", 502)


def test_the_last_event_waits_for_the_end_of_the_transfer() -> None:
    for end in (AnswerEvents.end, lambda answer: answer.fail(502, "broken off after its last event")):
        answer = AnswerEvents(None)
        answer.begin(200, SSE)
        assert answer.receive(STREAM) == [event.data for event in EVENTS[:-1]]
        assert end(answer) == [EVENTS[-1].data]


def test_an_answer_that_is_broken_off_is_an_error_with_the_status() -> None:
    answer = AnswerEvents("a")
    answer.begin(200, SSE)
    answer.receive(STREAM[:40])
    [event] = map(json.loads, answer.fail(504, "too late"))
    assert (event["type"], event["status"], event["stream_id"]) == ("error", 504, "a")
    assert event["error"]["message"] == "too late"
