"""What each message of a websocket means: the request over HTTP, or the events that answer it at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from computer_use_cache.formats.responses import Responses
from computer_use_cache.responses_websocket.conversation import Ask, Conversation, Reply, lane_of

NOW = 1_700_000_000.5
USER = {"role": "user", "content": "ping"}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "pong"}]}
NEXT = {"role": "user", "content": "again"}


def create(**fields: Any) -> bytes:
    return json.dumps({"type": "response.create", "model": "m", "input": [USER]} | fields).encode()


def asked(conversation: Conversation, message: bytes) -> Any:
    """The body of the request that a message becomes."""
    step = conversation.read(message, lane_of(message), NOW)
    assert isinstance(step, Ask), step
    return json.loads(step.body)


def replies(conversation: Conversation, message: bytes) -> list[Any]:
    """The events that answer a message without a request."""
    step = conversation.read(message, lane_of(message), NOW)
    assert isinstance(step, Reply), step
    return [json.loads(event) for event in step.events]


def exchange(conversation: Conversation, message: bytes, *output: Any, name: str = "resp_1", **fields: Any) -> None:
    """Have a message answered."""
    step = conversation.read(message, None, NOW)
    assert isinstance(step, Ask)
    answer = {"id": name, "object": "response", "status": "completed", "output": list(output)} | fields
    conversation.answered(step.said, Responses().explode(answer, with_usage=True))


def test_the_request_has_what_the_message_has_and_asks_for_a_stream() -> None:
    message = create(store=False, temperature=0.1, stream_id="a", generate=True, tools=[{"type": "x", "generate": 1}])
    assert asked(Conversation(), message) == {
        "model": "m",
        "input": [USER],
        "store": False,
        "temperature": 0.1,
        "tools": [{"type": "x", "generate": 1}],
        "stream": True,
    }


@pytest.mark.parametrize(
    "number",
    ["0.1", "-1.5e-7", "123456789012345678", pytest.param("340282366920938463463374607431768211456", id="128 bits")],
)
def test_numbers_keep_their_value(number: str) -> None:
    message = create(seed=0, text="\ud800" if len(number) > 20 else "").replace(
        b'"seed": 0', b'"seed":' + number.encode()
    )
    assert asked(Conversation(), message)["seed"] == json.loads(number)


@pytest.mark.parametrize(
    ("sent", "before"),
    [([USER], [USER]), ("ping", [USER]), ([], [])],
    ids=["items", "text", "nothing"],
)
def test_an_answer_that_is_not_kept_is_continued_with_the_whole_conversation(sent: Any, before: list[Any]) -> None:
    conversation = Conversation()
    exchange(conversation, create(store=False, input=sent), MESSAGE)
    body = asked(conversation, create(store=False, previous_response_id="resp_1", input=[NEXT], instructions="new"))
    assert body == {
        "model": "m",
        "store": False,
        "input": [*before, MESSAGE, NEXT],
        "instructions": "new",
        "stream": True,
    }


def test_each_answer_of_a_chain_can_be_continued() -> None:
    conversation = Conversation()
    exchange(conversation, create(store=False), MESSAGE)
    for number in (2, 3):
        more = create(store=False, previous_response_id=f"resp_{number - 1}", input=[NEXT])
        exchange(conversation, more, MESSAGE, name=f"resp_{number}")
    fork = asked(conversation, create(store=False, previous_response_id="resp_2", input="fork"))
    assert fork["input"] == [USER, MESSAGE, NEXT, MESSAGE, {"role": "user", "content": "fork"}]


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        pytest.param({}, {}, id="kept by default"),
        pytest.param({"store": True}, {"store": True}, id="kept"),
    ],
)
def test_an_answer_that_the_provider_keeps_is_continued_by_its_id(first: Any, answer: Any) -> None:
    conversation = Conversation()
    exchange(conversation, create(**first), MESSAGE, **answer)
    body = asked(conversation, create(previous_response_id="resp_1", input=[NEXT]))
    assert (body["previous_response_id"], body["input"]) == ("resp_1", [NEXT])


def test_an_answer_that_says_it_is_not_kept_is_not_continued_by_its_id() -> None:
    conversation = Conversation()
    exchange(conversation, create(), MESSAGE, store=False)
    body = asked(conversation, create(previous_response_id="resp_1", input=[NEXT]))
    assert "previous_response_id" not in body
    assert body["input"] == [USER, MESSAGE, NEXT]


def test_what_follows_a_kept_answer_still_names_it() -> None:
    conversation = Conversation()
    exchange(conversation, create(), MESSAGE)
    exchange(conversation, create(store=False, previous_response_id="resp_1", input=[NEXT]), MESSAGE, name="resp_2")
    body = asked(conversation, create(store=False, previous_response_id="resp_2", input=[NEXT]))
    assert (body["previous_response_id"], body["input"]) == ("resp_1", [NEXT, MESSAGE, NEXT])


@pytest.mark.parametrize(
    ("reasoning", "is_sent"),
    [
        ({"encrypted_content": "e"}, True),
        ({"content": [{"type": "reasoning_text", "text": "hm"}]}, True),
        ({"summary": [{"type": "summary_text", "text": "hm"}]}, False),
        ({"encrypted_content": None}, False),
    ],
)
def test_reasoning_that_only_the_provider_knew_is_left_out(reasoning: Any, is_sent: bool) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []} | reasoning
    conversation = Conversation()
    exchange(conversation, create(store=False), item, MESSAGE)
    body = asked(conversation, create(store=False, previous_response_id="resp_1", input=[NEXT]))
    assert body["input"] == [USER, *([item] if is_sent else []), MESSAGE, NEXT]


def test_an_unknown_answer_is_left_to_the_provider() -> None:
    body = asked(Conversation(), create(store=False, previous_response_id="resp_0"))
    assert (body["previous_response_id"], body["input"]) == ("resp_0", [USER])


def test_only_the_latest_answers_are_remembered() -> None:
    conversation = Conversation()
    for number in range(20):
        exchange(conversation, create(store=False), MESSAGE, name=f"resp_{number}")
    known = [
        "previous_response_id" not in asked(conversation, create(previous_response_id=f"resp_{number}"))
        for number in range(20)
    ]
    assert known == [False] * 4 + [True] * 16


def test_a_request_to_generate_nothing_is_answered_here_and_can_be_continued() -> None:
    conversation = Conversation()
    created, _, completed = replies(conversation, create(generate=False, instructions="Be brief.", stream_id="a"))
    assert [created["type"], completed["type"]] == ["response.created", "response.completed"]
    assert created["stream_id"] == completed["stream_id"] == "a"
    response = completed["response"]
    assert (response["output"], response["usage"]["total_tokens"], response["created_at"]) == ([], 0, int(NOW))
    assert (response["model"], response["instructions"]) == ("m", "Be brief.")
    assert "input" not in response
    body = asked(conversation, create(previous_response_id=response["id"], input=[NEXT]))
    assert body == {"model": "m", "input": [USER, NEXT], "stream": True}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param(b"{", "valid JSON", id="no JSON"),
        pytest.param(b"[]", "object", id="no object"),
        pytest.param(b'"\xff"', "valid JSON", id="no UTF-8"),
        pytest.param(b'{"type": "response.create", "type": "response.create"}', "twice", id="a member twice"),
        pytest.param(b'{"model": "m"}', "type None", id="no type"),
        pytest.param(b'{"type": "session.update"}', "'session.update'", id="the type of another API"),
    ],
)
def test_a_bad_message_is_refused(message: bytes, why: str) -> None:
    [event] = replies(Conversation(), message)
    assert (event["type"], event["status"], event["error"]["type"]) == ("error", 400, "invalid_request_error")
    assert why in event["error"]["message"]


def test_input_for_an_answer_in_progress_is_given_back() -> None:
    [event] = replies(
        Conversation(), json.dumps({"type": "response.steer", "previous_response_id": "r", "input": "stop"}).encode()
    )
    assert (event["type"], event["error"]["code"]) == ("response.steer.failed", "steering_not_supported")
    assert event["steer"] == {"previous_response_id": "r", "input": "stop"}


def test_a_receipt_is_not_answered() -> None:
    assert replies(Conversation(), b'{"type": "response.processed", "response_id": "resp_1"}') == []


@pytest.mark.parametrize(
    ("message", "lane"),
    [(b'{"stream_id": "a"}', "a"), (b"{}", None), (b'{"stream_id": 1}', None), (b"{", None), (b"[1]", None)],
)
def test_a_message_names_its_lane(message: bytes, lane: str | None) -> None:
    assert lane_of(message) == lane
