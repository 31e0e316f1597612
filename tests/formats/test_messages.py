"""Messages: every kind of block survives both directions, and Anthropic's accumulators give the same message."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic._models import construct_type
from anthropic.lib.streaming._beta_messages import accumulate_event as accumulate_beta_event
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from anthropic.types.beta import BetaRawMessageStreamEvent

import corpus
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import sse
from computer_use_cache.formats.base import dump
from computer_use_cache.formats.messages import Messages
from computer_use_cache.models import Event, Shape

Json = dict[str, Any]
FORMAT = Messages()

TEXT = {"type": "text", "text": "Two é\u2028lines"}
TOOL = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "computer",
    "input": {"coordinate": [120, 45], "action": "left_click", "big": 12345678901234567890123},
}
CITATIONS = [
    {"type": "char_location", "cited_text": "Rain.", "document_index": 0, "start_char_index": 0, "end_char_index": 5},
    {"type": "web_search_result_location", "url": "https://example.org", "encrypted_index": "abc="},
]
RESULT = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {"type": "web_search_result", "title": "Rain", "url": "https://example.org", "encrypted_content": "x="}
    ],
}

# A block, and the types of the deltas that tell it.
BLOCKS: dict[str, tuple[Json, list[str]]] = {
    "text": (TEXT, ["text_delta"]),
    "empty text": ({"type": "text", "text": ""}, []),
    "text with citations": (
        {"type": "text", "text": "Rain.", "citations": CITATIONS},
        ["citations_delta", "citations_delta", "text_delta"],
    ),
    "text with null citations": ({"type": "text", "text": "Rain.", "citations": None}, ["text_delta"]),
    "text with an unknown field": ({"type": "text", "text": "Rain.", "mood": {"wet": True}}, ["text_delta"]),
    "thinking": (
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB+/=="},
        ["thinking_delta", "signature_delta"],
    ),
    "thinking that is omitted": ({"type": "thinking", "thinking": "", "signature": "EqQB+/=="}, ["signature_delta"]),
    "redacted_thinking": ({"type": "redacted_thinking", "data": "EmwKAhgB+/=="}, []),
    "tool_use": (TOOL, ["input_json_delta"]),
    "tool_use without input": ({**TOOL, "input": {}}, []),
    "tool_use with a caller": ({**TOOL, "caller": {"type": "direct"}}, ["input_json_delta"]),
    "server_tool_use": (
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}},
        ["input_json_delta"],
    ),
    "web_search_tool_result": (RESULT, []),
    "code_execution_tool_result": (
        {
            "type": "code_execution_tool_result",
            "tool_use_id": "srvtoolu_2",
            "content": {"type": "code_execution_result", "stdout": "1", "stderr": "", "return_code": 0, "content": []},
        },
        [],
    ),
    "container_upload": ({"type": "container_upload", "file_id": "file_1"}, []),
    "mcp_tool_use": (
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "read", "server_name": "files", "input": {"path": "a"}},
        [],
    ),
    "compaction": ({"type": "compaction", "content": "So far so good.", "encrypted_content": "x="}, []),
    "an unknown type": ({"type": "dream", "of": ["sheep"], "text": "zzz"}, []),
}
BETA_BLOCKS = {"mcp_tool_use", "compaction"}

USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 7,
    "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 42,
    "service_tier": "standard",
    "inference_geo": "eu",
    "server_tool_use": {"web_search_requests": 2},
    "output_tokens_details": {"thinking_tokens": 30},
    "iterations": [{"type": "message", "output_tokens": 42}],
    "fallback_credit": {"status": {"type": "redeemed"}},
    "x_units": 1.5,
}


def message(*content: Json, **fields: Any) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "some-model",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": dict(USAGE),
        "x_provider": {"node": 12345678901234567890123},
        **fields,
    }


def payloads(events: list[Event]) -> list[Json]:
    return [json.loads(event.data) for event in events]


def stream(*objects: Json) -> list[Event]:
    return [Event(value["type"], dump(value)) for value in objects]


def explode(answer: Json) -> list[Event]:
    """The events for an answer, after a trip as bytes."""
    body = b"".join(FORMAT.join_stream(FORMAT.explode(answer, with_usage=True), Shape.SSE))
    return FORMAT.split_stream(body, Shape.SSE)


def fold_with_sdk(events: list[Event]) -> Any:
    """The message that Anthropic's own accumulator makes of the events."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for payload in payloads(events):
        event: Any = construct_type(type_=RawMessageStreamEvent, value=payload)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return plain(snapshot)


def fold_with_beta_sdk(events: list[Event]) -> Any:
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    no_headers: Any = {}
    for payload in payloads(events):
        event: Any = construct_type(type_=BetaRawMessageStreamEvent, value=payload)
        snapshot = accumulate_beta_event(
            event=event, current_snapshot=snapshot, json_bufs=buffers, request_headers=no_headers
        )
    return plain(snapshot)


def plain(snapshot: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bare(snapshot.model_dump(mode="json", warnings=False))


def bare(value: Any) -> Any:
    """The value without nulls and empty lists, with which the accumulators fill absent fields."""
    if isinstance(value, dict):
        kept = {name: bare(inner) for name, inner in value.items()}
        return {name: inner for name, inner in kept.items() if inner is not None and inner != []}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_streams_with_the_deltas_of_its_type(name: str) -> None:
    block, deltas = BLOCKS[name]
    sent = payloads(explode(message(TEXT, block)))[4:-2]
    assert [payload["type"] for payload in sent] == [
        "content_block_start",
        *["content_block_delta"] * len(deltas),
        "content_block_stop",
    ]
    assert [payload["delta"]["type"] for payload in sent[1:-1]] == deltas
    assert {payload["index"] for payload in sent} == {1}
    assert sent[0]["content_block"].keys() == block.keys()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_survives_the_stream_with_its_order_of_keys(name: str) -> None:
    block, _ = BLOCKS[name]
    answer = message(block, TEXT)
    events = explode(answer)
    FORMAT.check_events(events)
    assert json.dumps(FORMAT.assemble(events)["content"]) == json.dumps(answer["content"])


@pytest.mark.parametrize("name", [name for name in BLOCKS if name not in BETA_BLOCKS])
def test_the_official_accumulator_gives_the_block_back(name: str) -> None:
    answer = message(BLOCKS[name][0], TEXT)
    assert fold_with_sdk(explode(answer)) == bare(answer)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_official_beta_accumulator_gives_the_block_back(name: str) -> None:
    answer = message(BLOCKS[name][0], TEXT)
    assert fold_with_beta_sdk(explode(answer)) == bare(answer)


ANSWERS = {
    "a stop sequence": message(TEXT, stop_reason="stop_sequence", stop_sequence="END"),
    "a refusal": message(stop_reason="refusal", stop_details={"type": "refusal", "category": "cyber"}),
    "null details": message(TEXT, stop_details=None, container=None),
    "a container": message(TEXT, container={"id": "container_1", "expires_at": "2030-01-01T00:00:00Z"}),
    "only two totals": message(TEXT, usage={"input_tokens": 1, "output_tokens": 2}),
    "null totals": message(TEXT, usage=USAGE | {"cache_read_input_tokens": None, "server_tool_use": None}),
    "no content": message(),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_surrounds_the_content_survives_the_stream(name: str) -> None:
    answer = ANSWERS[name]
    events = explode(answer)
    FORMAT.check_events(events)
    assert FORMAT.assemble(events) == answer
    assert fold_with_sdk(events) == bare(answer)


def test_context_management_comes_with_message_delta() -> None:
    answer = message(TEXT, context_management={"applied_edits": [{"type": "clear_tool_uses_20250919"}]})
    events = explode(answer)
    assert payloads(events)[-2]["context_management"] == answer["context_management"]
    assert FORMAT.assemble(events) == answer
    assert fold_with_beta_sdk(events) == bare(answer)


def test_the_message_starts_empty_and_its_totals_come_last() -> None:
    answer = message(TEXT, stop_reason="max_tokens", container={"id": "container_1"})
    start, *_, delta, stop = payloads(explode(answer))
    late = {"server_tool_use", "output_tokens_details"}
    never_repeated = {"cache_creation", "service_tier", "inference_geo", "x_units"}
    early_usage = {name: value for name, value in USAGE.items() if name not in late} | {"output_tokens": 1}
    assert start == {
        "type": "message_start",
        "message": answer | {"content": [], "stop_reason": None, "container": None, "usage": early_usage},
    }
    assert delta == {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens", "stop_sequence": None, "container": {"id": "container_1"}},
        "usage": {name: value for name, value in USAGE.items() if name not in never_repeated},
    }
    assert stop == {"type": "message_stop"}


def test_events_are_named_by_their_type() -> None:
    events = explode(message(TEXT, TOOL))
    assert [event.name for event in events] == [payload["type"] for payload in payloads(events)]


def test_exploding_leaves_the_answer_alone() -> None:
    answer = message(*(block for block, _ in BLOCKS.values()))
    before = json.dumps(answer)
    FORMAT.explode(answer, with_usage=True)
    assert json.dumps(answer) == before


def test_lone_surrogates_survive_in_text_and_tool_input() -> None:
    answer = message({"type": "text", "text": "\ud83d"}, {**TOOL, "input": {"text": "\ud83d"}})
    assert FORMAT.assemble(explode(answer)) == answer


def test_a_character_cut_in_two_by_the_deltas_is_whole_again() -> None:
    halves = ('{"say": "\ud83d', '\ude00"}')
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in halves]
    tool = json.loads(dump(FORMAT.assemble(told(TOOL, *pieces))["content"][0]))
    assert tool == TOOL | {"input": {"say": "\U0001f600"}}


START: Json = {
    "type": "message_start",
    "message": message(stop_reason=None, usage={"input_tokens": 3, "output_tokens": 1}),
}
END: list[Json] = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]


def told(block: Json, *deltas: Json) -> list[Event]:
    """A stream of one block, which opens like this and gets these deltas."""
    return stream(
        START,
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        *END,
    )


@pytest.mark.parametrize(
    ("start", "deltas", "expected"),
    [
        (
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": "Ra"}, {"type": "text_delta", "text": "in"}],
            {"type": "text", "text": "Rain"},
        ),
        (
            {"type": "text", "text": "R", "citations": None},
            [{"type": "citations_delta", "citation": {"n": 1}}, {"type": "text_delta", "text": "ain", "x_score": 2}],
            {"type": "text", "text": "Rain", "citations": [{"n": 1}], "x_score": 2},
        ),
        (
            {"type": "tool_use", "id": "t", "name": "n", "input": {}},
            [{"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"b": "\\u00', 'e9", "a":', " 1}")],
            {"type": "tool_use", "id": "t", "name": "n", "input": {"b": "é", "a": 1}},
        ),
        (
            {"type": "tool_use", "id": "t", "name": "n", "input": {}},
            [{"type": "input_json_delta", "partial_json": ""}],
            {"type": "tool_use", "id": "t", "name": "n", "input": {}},
        ),
        (
            {"type": "thinking", "thinking": None, "signature": ""},
            [
                {"type": "thinking_delta", "thinking": "H", "estimated_tokens": 50},
                {"type": "thinking_delta", "thinking": "m."},
                {"type": "signature_delta", "signature": "EqQB+/=="},
            ],
            {"type": "thinking", "thinking": "Hm.", "signature": "EqQB+/=="},
        ),
        (
            {"type": "compaction", "content": None},
            [{"type": "compaction_delta", "content": "So far.", "encrypted_content": "x="}],
            {"type": "compaction", "content": "So far.", "encrypted_content": "x="},
        ),
    ],
)
def test_deltas_add_up_to_the_block(start: Json, deltas: list[Json], expected: Json) -> None:
    events = told(start, *deltas)
    FORMAT.check_events(events)
    whole = FORMAT.assemble(events)
    assert (whole["content"], whole["stop_reason"], whole["usage"]) == (
        [expected | {"type": start["type"]}],
        "end_turn",
        {"input_tokens": 3, "output_tokens": 9},
    )


@pytest.mark.parametrize(
    "delta",
    [
        {"type": "dream_delta", "of": "sheep"},
        {"type": "text_delta"},
        {"type": "text_delta", "text": None},
        {"text": "no type"},
        {"type": "input_json_delta", "partial_json": '{"wrong": }'},
        {"type": "input_json_delta", "partial_json": '{"wrong": nope, "a": 1'},
        {"type": "input_json_delta", "partial_json": "[1]"},
    ],
)
def test_a_delta_that_cannot_be_kept_is_an_error(delta: Json) -> None:
    events = told({"type": "text", "text": ""}, delta)
    FORMAT.check_events(events)
    with pytest.raises(FormatError):
        FORMAT.assemble(events)


@pytest.mark.parametrize(
    ("start", "deltas"),
    [
        ({"text": 5}, [{"type": "text_delta", "text": "a"}]),
        ({"text": ["a"]}, [{"type": "text_delta", "text": "a"}]),
        ({"citations": "none"}, [{"type": "citations_delta", "citation": {}}]),
        ({}, [{"type": "thinking_delta", "thinking": "a"}, {"type": "text_delta", "text": "a", "thinking": 5}]),
        ({}, [{"type": "text_delta", "text": "a", "citations": 5}, {"type": "citations_delta", "citation": {}}]),
    ],
)
def test_what_cannot_be_added_to_a_block_is_an_error(start: Json, deltas: list[Json]) -> None:
    with pytest.raises(FormatError):
        FORMAT.assemble(told({"type": "text", "text": ""} | start, *deltas))


def test_an_event_that_is_new_is_passed_over() -> None:
    events = explode(message(TEXT))
    events[2:2] = stream({"type": "dream", "of": ["sheep"]})
    assert FORMAT.assemble(events) == message(TEXT)


CUT = '{"a": "x\\"{", "b": [1, {"c": true, "d": null}, -2.5e3, []], "e": {}, "f": "\\u00e9"}'


@pytest.mark.parametrize("length", range(1, len(CUT) + 1))
def test_a_tool_input_that_was_cut_is_what_the_sdk_makes_of_it(length: int) -> None:
    jiter = pytest.importorskip("jiter", reason="the anthropic package is not installed (scripts/setup dev)")
    events = told(TOOL | {"input": {}}, {"type": "input_json_delta", "partial_json": CUT[:length]})
    expected = jiter.from_json(CUT[:length].encode(), partial_mode=True)
    assert FORMAT.assemble(events)["content"][0]["input"] == expected


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message_start"},
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_delta", "index": 5, "delta": {"type": "text_delta", "text": "lost"}},
        {"type": "message_delta"},
        {"type": "message_delta", "delta": {}, "usage": "much"},
    ],
)
def test_an_event_that_cannot_be_kept_is_an_error(event: Json) -> None:
    with pytest.raises(FormatError):
        FORMAT.assemble(stream(START, event, *END))


def test_a_null_at_the_end_keeps_what_the_start_said() -> None:
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "container": None},
        "usage": {"input_tokens": None, "output_tokens": 9, "server_tool_use": None},
        "x_extra": 1,
    }
    start = {"type": "message_start", "message": START["message"] | {"container": {"id": "container_1"}}}
    whole = FORMAT.assemble(stream(start, end, END[-1]))
    assert whole["container"] == {"id": "container_1"}
    assert whole["usage"] == {"input_tokens": 3, "output_tokens": 9, "server_tool_use": None}
    assert whole["x_extra"] == 1


def test_usage_may_come_only_at_the_end() -> None:
    start = {"type": "message_start", "message": message(usage=None)}
    assert FORMAT.assemble(stream(start, *END))["usage"] == {"output_tokens": 9}


def test_a_fallback_block_names_the_model_of_the_answer() -> None:
    events = told({"type": "fallback", "from": {"model": "some-model"}, "to": {"model": "other-model"}})
    assert FORMAT.assemble(events)["model"] == "other-model"


def test_the_done_line_of_other_providers_is_passed_over() -> None:
    events = [*explode(message(TEXT)), Event("", b"[DONE]")]
    FORMAT.check_events(events)
    assert FORMAT.assemble(events) == message(TEXT)


WHOLE = explode(message(TEXT))
BROKEN_STREAMS = {
    "nothing": [],
    "no message_stop": WHOLE[:-1],
    "no message_start": WHOLE[1:],
    "data that is not JSON": [*WHOLE, Event("ping", b"{")],
    "data that is not an object": [*WHOLE, Event("ping", b"[1]")],
    "an error event": [*WHOLE, *stream({"type": "error", "error": {"type": "overloaded_error", "message": "no"}})],
    "an event named error": [*WHOLE, Event("error", b'{"message": "no"}')],
    "an error in a data object": [*WHOLE, Event("", b'{"error": {"message": "no"}}')],
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_a_broken_stream_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        FORMAT.check_events(BROKEN_STREAMS[name])


@pytest.mark.parametrize("answer", [message(TEXT), message(), *ANSWERS.values()])
def test_a_message_is_accepted(answer: Json) -> None:
    FORMAT.check_answer(answer)


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "error", "error": {"type": "overloaded_error", "message": "no"}},
        message(TEXT, error={"message": "no"}),
        message(TEXT, type="completion"),
        message(content="text"),
        message(content=None),
        message(content=["text"]),
        {},
    ],
)
def test_an_answer_that_is_not_a_message_is_refused(answer: Json) -> None:
    with pytest.raises(FormatError):
        FORMAT.check_answer(answer)


def test_usage_that_is_not_an_object_cannot_be_streamed() -> None:
    with pytest.raises(FormatError):
        FORMAT.explode(message(TEXT, usage="much"), with_usage=True)


@pytest.mark.parametrize("kind", [None, 5, [], {"a": 1}])
def test_a_block_of_no_known_type_is_streamed_whole(kind: Any) -> None:
    block = {"type": kind, "of": "sheep"}
    assert FORMAT.assemble(FORMAT.explode(message(block), with_usage=True))["content"] == [block]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/messages", ""), ("/messages/", None), ("/messages/count_tokens", None), ("/messages/batches", None)],
)
def test_only_its_own_path_matches(path: str, expected: str | None) -> None:
    assert FORMAT.match(path) == expected


@pytest.mark.parametrize(
    ("container", "cached"), [(None, True), ("container_1", False), ({"id": "container_1"}, False)]
)
def test_a_container_bypasses_the_cache(container: Any, cached: bool) -> None:
    assert (FORMAT.bypass_reason({"model": "m", "messages": [], "container": container}) is None) is cached


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_have_anthropics_form_and_types(status: int, kind: str) -> None:
    error = FORMAT.error(RequestError(status, "No.", param="model", code="x"))
    assert error == {"type": "error", "error": {"type": kind, "message": "No."}}


MARK = {"cache_control": {"type": "ephemeral"}}
SHOT: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def request(mark: Json) -> Json:
    """A request with `mark` in each place where Messages defines cache_control."""
    return {
        "model": "m",
        **mark,
        "system": [{"type": "text", "text": "Be brief.", **mark}],
        "tools": [{"name": "t", "input_schema": {"properties": MARK}, **mark}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "t", "input": MARK, **mark}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{**SHOT, **mark}], **mark}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "done", **mark}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", **mark}, "text"]},
        ],
    }


def test_cache_control_counts_only_where_messages_does_not_define_it() -> None:
    assert FORMAT.key_body(request(MARK)) == request({})
    assert request({})["tools"][0]["input_schema"]["properties"] == MARK
    page = {"type": "web_fetch_tool_result", "tool_use_id": "t2", "content": [MARK]}
    elsewhere = {"output_config": MARK, "messages": [{"role": "user", "content": [page], **MARK}]}
    assert FORMAT.key_body(elsewhere) == elsewhere


def test_the_key_body_copies_no_content_and_leaves_the_request_alone() -> None:
    body = request(MARK)
    before = json.dumps(body)
    key = FORMAT.key_body(body)
    assert json.dumps(body) == before
    shot = key["messages"][2]["content"][0]["content"][0]
    assert shot["source"] is SHOT["source"]


@pytest.mark.parametrize(
    "odd", [{"system": "Be brief."}, {"messages": ["hi"]}, {"messages": None}, {"tools": {"a": 1}}]
)
def test_a_request_of_another_form_keeps_all_of_it_in_the_key(odd: Json) -> None:
    assert FORMAT.key_body(odd) == odd


def test_only_fields_that_do_not_decide_the_answer_are_left_out_of_the_key() -> None:
    counts = {"model": "m", "messages": [], "stop_sequences": ["x"], "user": "u", "unknown": 1}
    assert FORMAT.key_body(counts | dict.fromkeys(("stream", "cache_control", "metadata"), "x")) == counts


# A computer-use loop: the model looks, clicks, types and answers; each request holds what went before.
ACTIONS: list[Json] = [
    {"action": "screenshot"},
    {"action": "left_click", "coordinate": [10, 20]},
    {"action": "type", "text": "weather tomorrow"},
]


def loop_turns() -> Iterator[tuple[Json, Json]]:
    """Each turn's request, its newest message marked for the provider's cache, and its answer."""
    history: list[Json] = [{"role": "user", "content": [{"type": "text", "text": "What is the weather tomorrow?"}]}]
    tool = {"type": "computer_20250124", "name": "computer", "display_width_px": 1024, "display_height_px": 768}
    fixed = {"model": "m", "max_tokens": 100, "tools": [tool]}
    for turn, action in enumerate(ACTIONS):
        yield fixed | {"messages": marked(history)}, message(*thought_and_call(turn, action), stop_reason="tool_use")
        shot = {"type": "image", "source": SHOT["source"] | {"data": f"iVBORw0KGgo{turn}"}}
        history = [
            *history,
            {"role": "assistant", "content": thought_and_call(turn, action)},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": [shot]}]},
        ]
    yield fixed | {"messages": marked(history)}, message(TEXT)


def thought_and_call(turn: int, action: Json) -> list[Json]:
    return [
        {"type": "thinking", "thinking": "Next.", "signature": f"EqQB{turn}=="},
        {"type": "tool_use", "id": f"toolu_{turn}", "name": "computer", "input": action},
    ]


def marked(history: list[Json]) -> list[Json]:
    *earlier, last = history
    return [*earlier, last | {"content": [block | MARK for block in last["content"]]}]


def test_a_computer_use_loop_replays_in_both_shapes() -> None:
    keys = []
    for body, answer in loop_turns():
        assert FORMAT.bypass_reason(body) is None
        keys.append(FORMAT.key_body(body | {"stream": True}))
        assert fold_with_sdk(explode(answer)) == bare(answer)
        assert FORMAT.assemble(explode(answer)) == answer
    assert [len(key["messages"]) for key in keys] == [1, 3, 5, 7]
    assert "cache_control" not in json.dumps(keys)
    assert "iVBORw0KGgo2" in json.dumps(keys[-1])


def test_all_recorded_traffic_translates_without_loss() -> None:
    rows = corpus.exchanges("messages")
    for row in rows:
        body = row["resp_body"].encode("utf-8", "surrogatepass")
        if row["stream"]:
            events = list(sse.parse(body))
            FORMAT.check_events(events)
            answer = FORMAT.assemble(events)
            assert bare(answer) == fold_with_sdk(events), row["id"]
        else:
            answer = json.loads(body)
        FORMAT.check_answer(answer)
        exploded = explode(answer)
        assert fold_with_sdk(exploded) == bare(answer), row["id"]
        assert FORMAT.assemble(exploded) == answer, row["id"]
