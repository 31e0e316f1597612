"""Bedrock's APIs: paths, both shapes of an answer, what is a good answer, and what counts in the key."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.accounting import prices
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import aws_events, transcript
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Format
from computer_use_cache.formats.bedrock_converse import BedrockConverse
from computer_use_cache.formats.bedrock_invoke import BedrockInvoke, BedrockMessages
from computer_use_cache.models import Ending, Event, Shape, Skip

CONVERSE, MESSAGES, INVOKE = BedrockConverse(), BedrockMessages(), BedrockInvoke()
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = f"arn:aws:bedrock:us-east-1:000000000000:inference-profile/{CLAUDE}"
COMMAND = "cohere.command-text-v14"
PICTURE = base64.b64encode(bytes(24)).decode()


@pytest.mark.parametrize(
    ("path", "format", "resource", "model", "shape"),
    [
        (f"/model/{CLAUDE}/converse", CONVERSE, CLAUDE, CLAUDE, Shape.JSON),
        (f"/model/{CLAUDE.replace(':', '%3A')}/converse-stream", CONVERSE, CLAUDE, CLAUDE, Shape.AWS),
        (f"/model/{PROFILE}/converse", CONVERSE, PROFILE, CLAUDE, Shape.JSON),
        (f"/model/{PROFILE.replace(':', '%3A').replace('/', '%2F')}/invoke", MESSAGES, PROFILE, CLAUDE, Shape.JSON),
        (f"/model/{CLAUDE}/invoke-with-response-stream", MESSAGES, CLAUDE, CLAUDE, Shape.AWS),
        ("/model/anthropic.claude-v2:1/invoke", INVOKE, "anthropic.claude-v2:1", "anthropic.claude-v2:1", Shape.JSON),
        ("/model/cohere.command-text-v14/invoke", INVOKE, "cohere.command-text-v14 invoke", COMMAND, Shape.JSON),
        ("/model/amazon.nova-lite-v1:0/invoke", INVOKE, "amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", Shape.JSON),
    ],
)
def test_the_path_names_the_api_the_model_and_the_shape(
    path: str, format: Format, resource: str, model: str, shape: Shape
) -> None:
    found = formats.match(path)
    assert found is not None
    assert (found[0].name, found[1]) == (format.name, resource)
    assert format.model({}, resource) == model
    assert format.wanted_shape({}, path, ()) is shape


@pytest.mark.parametrize(
    "path", ["/model//converse", "/model/converse", "/model/x/async-invoke", "/x/converse", "/model/x/converse/y"]
)
def test_other_paths_are_not_cached(path: str) -> None:
    assert formats.match(path) is None


def test_errors_are_bedrocks() -> None:
    format = formats.of_client("/model/x/async-invoke", "/model/x/async-invoke", ())
    error = RequestError(429, "Slower.")
    assert format.error(error) == {"message": "Slower."}
    assert format.error_headers(error) == {"x-amzn-errortype": "ThrottlingException"}


# -- Converse

RUN = {"toolUseId": "tooluse_1", "type": "nova_code_interpreter_result", "status": "success"}
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}


def answer(*content: Any, stop_reason: str = "end_turn", **others: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": list(content)}
    ending = {"stopReason": stop_reason, "usage": USAGE, "metrics": {"latencyMs": 7}}
    return {"output": {"message": message}} | ending | others


def event(name: str, **payload: Any) -> Event:
    return Event(name, json.dumps(payload | {"p": "abcdef"}).encode())


def deltas(index: int, *pieces: Any) -> list[Event]:
    sent = [event("contentBlockDelta", contentBlockIndex=index, delta=piece) for piece in pieces]
    return [*sent, event("contentBlockStop", contentBlockIndex=index)]


def streamed(*events: Event, stop_reason: str = "end_turn", **stop: Any) -> list[Event]:
    return [
        event("messageStart", role="assistant"),
        *events,
        event("messageStop", stopReason=stop_reason, **stop),
        event("metadata", usage=USAGE, metrics={"latencyMs": 7}),
    ]


def called(index: int, name: str) -> Event:
    start = {"toolUse": {"toolUseId": "tooluse_1", "name": name}}
    return event("contentBlockStart", contentBlockIndex=index, start=start)


CASES = [
    pytest.param(deltas(0, {"text": "Hel"}, {"text": "lo"}), [{"text": "Hello"}], id="text"),
    pytest.param(
        [
            *deltas(0, {"text": "So:"}),
            called(1, "see"),
            *deltas(1, *({"toolUse": {"input": x}} for x in ("", '{"x"', ":1}"))),
        ],
        [{"text": "So:"}, {"toolUse": {"toolUseId": "tooluse_1", "name": "see", "input": {"x": 1}}}],
        id="tool",
    ),
    pytest.param(
        [called(0, "stop"), *deltas(0)],
        [{"toolUse": {"toolUseId": "tooluse_1", "name": "stop", "input": {}}}],
        id="tool without arguments",
    ),
    pytest.param(
        deltas(0, *({"reasoningContent": piece} for piece in ({"text": "Hm"}, {"text": "m"}, {"signature": "c2ln"}))),
        [{"reasoningContent": {"reasoningText": {"text": "Hmm", "signature": "c2ln"}}}],
        id="reasoning",
    ),
    pytest.param(
        deltas(0, *({"reasoningContent": {"redactedContent": piece}} for piece in ("YQ==", "YmM="))),
        [{"reasoningContent": {"redactedContent": "YWJj"}}],
        id="redacted reasoning",
    ),
    pytest.param(
        deltas(0, {"text": "It is."}, {"citation": {"title": "A"}}),
        [{"citationsContent": {"content": [{"text": "It is."}], "citations": [{"title": "A"}]}}],
        id="citations",
    ),
    pytest.param(
        [
            event("contentBlockStart", contentBlockIndex=0, start={"toolResult": RUN}),
            *deltas(0, {"toolResult": [{"json": {"stdOut": "7"}}]}),
        ],
        [{"toolResult": RUN | {"content": [{"json": {"stdOut": "7"}}]}}],
        id="a tool that the provider runs",
    ),
]


@pytest.mark.parametrize(("events", "content"), CASES)
def test_a_stream_and_its_answer_are_made_of_each_other(events: list[Event], content: list[Any]) -> None:
    whole = answer(*content)
    assert CONVERSE.assemble(streamed(*events)) == whole
    again = CONVERSE.explode(whole, with_usage=True)
    assert not CONVERSE.check_events(again).is_silent
    assert CONVERSE.assemble(again) == whole
    frames = b"".join(CONVERSE.join_stream(again, Shape.AWS))
    assert CONVERSE.split_stream(frames, Shape.AWS) == again


def test_arguments_that_were_cut_keep_their_whole_values() -> None:
    events = streamed(
        called(0, "see"), *deltas(0, {"toolUse": {"input": '{"x": 1, "y": "no'}}), stop_reason="max_tokens"
    )
    assert CONVERSE.assemble(events)["output"]["message"]["content"][0]["toolUse"]["input"] == {"x": 1}
    assert CONVERSE.check_events(events).endings == {Ending.LENGTH}


def test_other_fields_of_an_answer_survive_a_stream() -> None:
    whole = answer(
        {"text": "x"}, additionalModelResponseFields={"a": 1}, trace={"guardrail": {}}, serviceTier={"type": "x"}
    )
    assert CONVERSE.assemble(CONVERSE.explode(whole, with_usage=True)) == whole


@pytest.mark.parametrize("content", [{"image": {"format": "png"}}, {"novel": 1}])
def test_a_block_that_is_not_known_is_not_streamed(content: Any) -> None:
    with pytest.raises(FormatError):
        CONVERSE.explode(answer(content), with_usage=True)


@pytest.mark.parametrize("delta", [{"novel": "x"}, {"toolUse": {"novel": "x"}}, {"image": {"source": {}}}])
def test_a_delta_that_is_not_known_is_not_assembled(delta: Any) -> None:
    events = streamed(*deltas(0, delta))
    CONVERSE.check_events(events)
    with pytest.raises(FormatError):
        CONVERSE.assemble(events)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, Skip.MALFORMED),
        ({"message": "no such operation"}, Skip.MALFORMED),
        ({"output": {"message": {"role": "assistant"}}, "stopReason": "end_turn"}, Skip.MALFORMED),
        (answer({"text": "x"}, stop_reason=""), Skip.UNFINISHED),
        (answer({"text": "x"}, stop_reason="malformed_tool_use"), Skip.FAILED),
        (answer({"text": "x"}, error="overloaded"), Skip.ERROR),
    ],
)
def test_a_bad_answer_is_refused(wrong: dict[str, Any], reason: Skip) -> None:
    with pytest.raises(FormatError) as error:
        CONVERSE.check_answer(wrong)
    assert error.value.reason is reason


def test_a_filtered_answer_and_a_silent_one_are_distinguished() -> None:
    assert CONVERSE.check_answer(answer({"text": "No."}, stop_reason="guardrail_intervened")).endings == {
        Ending.CONTENT_FILTER
    }
    assert CONVERSE.check_answer(answer({"text": " "})).is_silent
    assert CONVERSE.check_events(streamed(*deltas(0, {"text": ""}))).is_silent
    assert not CONVERSE.check_events(streamed(called(0, "see"), *deltas(0))).is_silent


def test_a_stream_that_lacks_its_metadata_is_whole_only_where_its_end_is_marked() -> None:
    events = streamed(*deltas(0, {"text": "x"}))[:-1]
    CONVERSE.check_events(events, ended=True)
    with pytest.raises(FormatError):
        CONVERSE.check_events(events)
    with pytest.raises(FormatError):
        CONVERSE.check_events(events[:-1], ended=True)


@pytest.mark.parametrize(
    "headers",
    [
        {":message-type": "exception", ":exception-type": "throttlingException"},
        {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "sorry"},
    ],
)
@pytest.mark.parametrize("format", [CONVERSE, MESSAGES, INVOKE], ids=lambda one: one.name)
def test_an_exception_inside_a_stream_is_an_error(format: Format, headers: dict[str, str]) -> None:
    frame = aws_events.encode(aws_events.Message(headers, b'{"message":"sorry"}'))
    with pytest.raises(FormatError) as error:
        format.split_stream(frame, Shape.AWS)
    assert error.value.reason is Skip.ERROR


def test_cache_points_and_request_metadata_are_not_part_of_the_key() -> None:
    point = {"cachePoint": {"type": "default"}}

    def body(*points: Any) -> dict[str, Any]:
        return {
            "system": [{"text": "Be kind."}, *points],
            "messages": [{"role": "user", "content": [{"text": "hi"}, *points]}],
            "toolConfig": {"tools": [{"toolSpec": {"name": "see"}}, *points]},
        }

    asked = body(point) | {"requestMetadata": {"team": "a"}}
    assert CONVERSE.key_body(asked) == CONVERSE.key_body(body()) == body()
    assert asked["system"][1] == point


def test_a_conversation_is_shown() -> None:
    result = {"toolUseId": "tooluse_1", "content": [{"image": {"format": "png", "source": {"bytes": PICTURE}}}]}
    said = [
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "tooluse_1", "name": "see", "input": {"x": 1}}}]},
        {"role": "user", "content": [{"toolResult": result | {"status": "error"}}]},
    ]
    tool = {"toolSpec": {"name": "see", "inputSchema": {"json": {"properties": {"x": {}}}}}}
    shown = transcript.of_request(CONVERSE, {"messages": said, "toolConfig": {"tools": [tool]}})
    for text in ("see(x)", "→ see  tooluse_1", "← tooluse_1 (error)", "[image/png, 24 bytes]"):
        assert text in shown
    thought = {"reasoningContent": {"reasoningText": {"text": "Hmm", "signature": "c2ln"}}}
    answered = transcript.of_answer(CONVERSE, answer(thought, {"text": "Done."}))
    for text in ("inputTokens 3", "── assistant", "[reasoning] Hmm", "Done."):
        assert text in answered


# -- Invoke


def chunks(*payloads: Any) -> bytes:
    return b"".join(MESSAGES.join_stream([Event("", json.dumps(one).encode()) for one in payloads], Shape.AWS))


def test_claudes_chunks_hold_the_events_of_messages() -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    frames = b"".join(MESSAGES.join_stream(MESSAGES.explode(message, with_usage=True), Shape.AWS))
    events = MESSAGES.split_stream(frames, Shape.AWS)
    assert not MESSAGES.check_events(events).is_silent
    assert MESSAGES.assemble(events) == message
    assert b"input_tokens" in Answer(MESSAGES, Shape.AWS, frames).searchable
    assert b"input_tokens" not in frames


@pytest.mark.parametrize(
    ("name", "payload"),
    [("chunk", {"bytes": "%"}), ("chunk", {}), ("other", {"bytes": "e30="})],
)
def test_anything_but_a_chunk_is_refused(name: str, payload: Any) -> None:
    headers = {":event-type": name, ":message-type": "event"}
    with pytest.raises(FormatError):
        MESSAGES.split_stream(aws_events.encode(aws_events.Message(headers, json.dumps(payload).encode())), Shape.AWS)


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}}


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param([{"outputText": "Hello", "completionReason": "FINISH"} | METRICS], id="Titan"),
        pytest.param([{"generation": "Hel"}, {"generation": "lo", "stop_reason": "stop"} | METRICS], id="Llama"),
        pytest.param([{"outputs": [{"text": "Hello", "stop_reason": "stop"}]} | METRICS], id="Mistral"),
        pytest.param(
            [{"contentBlockDelta": {"delta": {"text": "Hello"}}}, {"messageStop": {"stopReason": "end_turn"}}, METRICS],
            id="Nova",
        ),
    ],
)
def test_other_models_streams_are_whole_with_their_metrics(payloads: list[Any]) -> None:
    events = INVOKE.split_stream(chunks(*payloads), Shape.AWS)
    assert not INVOKE.check_events(events).is_silent
    with pytest.raises(FormatError):
        INVOKE.check_events(events[:-1])


def test_what_a_guardrail_blocked_is_whole_though_no_model_ended_it() -> None:
    blocked = {"outputText": "Blocked.", "index": 0, "amazon-bedrock-guardrailAction": "INTERVENED"}
    events = INVOKE.split_stream(chunks(blocked), Shape.AWS)
    assert not INVOKE.check_events(events, ended=True).is_silent
    with pytest.raises(FormatError):
        INVOKE.check_events(events)


def test_other_models_answers_are_judged() -> None:
    assert not INVOKE.check_answer({"embedding": [0.1, 0.2], "inputTextTokenCount": 2}).is_silent
    assert INVOKE.check_answer({"results": [{"outputText": "", "completionReason": "FINISH"}]}).is_silent
    cut = {"generation": "Once upon", "stop_reason": "length"}
    assert INVOKE.check_answer(cut).endings == {Ending.LENGTH}
    for wrong in ({"images": [], "error": "blocked"}, {"generations": [{"text": "x", "finish_reason": "ERROR"}]}):
        with pytest.raises(FormatError):
            INVOKE.check_answer(wrong)


@pytest.mark.parametrize(
    ("format", "model", "answered"),
    [
        (CONVERSE, "amazon.nova-lite-v1:0", answer({"text": "x"})),
        (CONVERSE, CLAUDE, answer({"text": "x"})),
        (MESSAGES, CLAUDE, {"usage": {"input_tokens": 3, "output_tokens": 5}}),
    ],
)
def test_an_answer_is_priced_as_bedrock_does(format: Format, model: str, answered: Any) -> None:
    upstream = "https://bedrock-runtime.us-east-1.amazonaws.com"
    read = Answer(format, Shape.JSON, json.dumps(answered).encode())
    cost = prices.cost_of(read, upstream, model, seconds=1.0, now=1_800_000_000.0)
    assert (cost.input_tokens, cost.output_tokens, cost.at_list_price) == (3, 5, False)
    assert cost.usd
