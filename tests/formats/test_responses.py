"""Responses: every kind of output item survives both directions, and the events are those of OpenAI's schema."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

import corpus
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import sse
from computer_use_cache.formats.base import dump
from computer_use_cache.formats.responses import Responses
from computer_use_cache.models import Event, Shape

Json = dict[str, Any]
FORMAT = Responses()

TEXT = {"type": "output_text", "text": "Two é\u2028lines", "annotations": [], "logprobs": []}
CITED: Json = {
    "type": "output_text",
    "text": "Rain.",
    "annotations": [
        {"type": "url_citation", "start_index": 0, "end_index": 4, "title": "Sky", "url": "https://example.org/sky"},
        {"type": "file_citation", "file_id": "file_1", "filename": "sky.txt", "index": 4},
    ],
    "logprobs": [{"token": "Rain.", "bytes": [82], "logprob": -0.25, "top_logprobs": []}],
}
REFUSAL = {"type": "refusal", "refusal": "I would rather not."}

MESSAGE: Json = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [TEXT]}
FUNCTION = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "add",
    "arguments": '{"b": 2, "a": 12345678901234567890123}',
}
REASONING: Json = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Then."}],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
    "encrypted_content": "opaque+/=",
}
COMPUTER: Json = {
    "id": "cu_1",
    "type": "computer_call",
    "call_id": "call_2",
    "status": "completed",
    "action": {"type": "click", "button": "left", "x": 120, "y": 45},
    "pending_safety_checks": [{"id": "sc_1", "code": "unknown_page", "message": "Look first"}],
}
MCP: Json = {
    "id": "mcp_1",
    "type": "mcp_call",
    "status": "completed",
    "server_label": "files",
    "name": "read",
    "arguments": '{"path":"a.txt"}',
    "output": "hello",
    "error": None,
    "approval_request_id": None,
}
MCP_TOOLS = {"id": "mcpl_1", "type": "mcp_list_tools", "server_label": "files", "tools": [{"name": "read"}]}
WEB = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "rain"}}
FILES = {
    "id": "fs_1",
    "type": "file_search_call",
    "status": "completed",
    "queries": ["rain"],
    "results": [{"file_id": "file_1", "score": 0.5, "text": "wet"}],
}
CODE = {
    "id": "ci_1",
    "type": "code_interpreter_call",
    "status": "completed",
    "container_id": "cntr_1",
    "code": "print(1)",
    "outputs": [{"type": "logs", "logs": "1"}],
}
IMAGE = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "aW1hZ2U=", "size": "64x64"}
CUSTOM = {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_3", "name": "sql", "input": "select 1"}

ADDED, DONE = ["output_item.added"], ["output_item.done"]
PART = ["content_part.added", "output_text.delta", "output_text.done", "content_part.done"]

# An output item, and the events that tell it (without `response.`).
ITEMS: dict[str, tuple[Json, list[str]]] = {
    "message": (MESSAGE, [*ADDED, *PART, *DONE]),
    "message of two parts": (
        {**MESSAGE, "content": [TEXT, REFUSAL]},
        [*ADDED, *PART, "content_part.added", "refusal.delta", "refusal.done", "content_part.done", *DONE],
    ),
    "message with annotations and logprobs": (
        {**MESSAGE, "content": [CITED]},
        [*ADDED, *PART[:2], *["output_text.annotation.added"] * 2, *PART[2:], *DONE],
    ),
    "message without text": (
        {**MESSAGE, "content": [{**TEXT, "text": ""}]},
        [*ADDED, "content_part.added", "output_text.done", "content_part.done", *DONE],
    ),
    "message with an unknown part": (
        {**MESSAGE, "content": [{"type": "smell", "text": "rose", "strength": 3}]},
        [*ADDED, "content_part.added", "content_part.done", *DONE],
    ),
    "message without logprobs, unknown fields": (
        {
            **MESSAGE,
            "phase": "final_answer",
            "content": [{"type": "output_text", "text": "a", "annotations": [], "x": 1}],
        },
        [*ADDED, *PART, *DONE],
    ),
    "function_call": (
        FUNCTION,
        [*ADDED, "function_call_arguments.delta", "function_call_arguments.done", *DONE],
    ),
    "function_call without id or arguments": (
        {"type": "function_call", "call_id": "call_1", "name": "now", "arguments": ""},
        [*ADDED, "function_call_arguments.done", *DONE],
    ),
    "custom_tool_call": (CUSTOM, [*ADDED, "custom_tool_call_input.delta", "custom_tool_call_input.done", *DONE]),
    "reasoning": (
        REASONING,
        [
            *ADDED,
            *[
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
            ]
            * 2,
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            *DONE,
        ],
    ),
    "reasoning without content": (
        {"id": "rs_2", "type": "reasoning", "summary": [], "content": None, "format": "x-v1"},
        [*ADDED, *DONE],
    ),
    "computer_call": (COMPUTER, [*ADDED, *DONE]),
    "web_search_call": (
        WEB,
        [*ADDED, *(f"web_search_call.{step}" for step in ("in_progress", "searching", "completed")), *DONE],
    ),
    "web_search_call that failed": (
        {**WEB, "status": "failed"},
        [*ADDED, *(f"web_search_call.{step}" for step in ("in_progress", "searching")), *DONE],
    ),
    "file_search_call": (
        FILES,
        [*ADDED, *(f"file_search_call.{step}" for step in ("in_progress", "searching", "completed")), *DONE],
    ),
    "code_interpreter_call": (
        CODE,
        [
            *ADDED,
            "code_interpreter_call.in_progress",
            "code_interpreter_call_code.delta",
            "code_interpreter_call_code.done",
            "code_interpreter_call.interpreting",
            "code_interpreter_call.completed",
            *DONE,
        ],
    ),
    "code_interpreter_call without code": (
        {**CODE, "code": None, "outputs": None},
        [*ADDED, *(f"code_interpreter_call.{step}" for step in ("in_progress", "interpreting", "completed")), *DONE],
    ),
    "image_generation_call": (
        IMAGE,
        [*ADDED, *(f"image_generation_call.{step}" for step in ("in_progress", "generating", "completed")), *DONE],
    ),
    "mcp_call": (
        MCP,
        [
            *ADDED,
            "mcp_call.in_progress",
            "mcp_call_arguments.delta",
            "mcp_call_arguments.done",
            "mcp_call.completed",
            *DONE,
        ],
    ),
    "mcp_call that failed": (
        {**MCP, "status": "failed", "output": None, "error": "no such file"},
        [
            *ADDED,
            "mcp_call.in_progress",
            "mcp_call_arguments.delta",
            "mcp_call_arguments.done",
            "mcp_call.failed",
            *DONE,
        ],
    ),
    "mcp_list_tools": (MCP_TOOLS, [*ADDED, "mcp_list_tools.in_progress", "mcp_list_tools.completed", *DONE]),
    "mcp_list_tools that failed": (
        {**MCP_TOOLS, "tools": [], "error": "down"},
        [*ADDED, "mcp_list_tools.in_progress", "mcp_list_tools.failed", *DONE],
    ),
    "mcp_approval_request": (
        {"id": "mcpr_1", "type": "mcp_approval_request", "server_label": "files", "name": "rm", "arguments": "{}"},
        [*ADDED, *DONE],
    ),
    "local_shell_call": (
        {
            "id": "ls_1",
            "type": "local_shell_call",
            "call_id": "call_4",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls", "-l"], "env": {}},
        },
        [*ADDED, *DONE],
    ),
    "shell_call": (
        {
            "id": "sh_1",
            "type": "shell_call",
            "call_id": "call_5",
            "status": "completed",
            "action": {"commands": ["ls"]},
        },
        [*ADDED, *DONE],
    ),
    "apply_patch_call": (
        {
            "id": "ap_1",
            "type": "apply_patch_call",
            "call_id": "call_6",
            "status": "completed",
            "operation": {"type": "update_file", "path": "a.py", "diff": "@@\n-1\n+2"},
        },
        [*ADDED, *DONE],
    ),
    "an unknown type": (
        {"id": "x_1", "type": "dream_call", "status": "completed", "of": {"sheep": [1]}},
        [*ADDED, *DONE],
    ),
}


def answer(*output: Json, **fields: Any) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "completed_at": 1700000009,
        "error": None,
        "incomplete_details": None,
        "model": "some-model",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        "x_provider": {"node": 12345678901234567890123},
        **fields,
    }


def payloads(events: list[Event]) -> list[Json]:
    return [json.loads(event.data) for event in events if event.data != b"[DONE]"]


def stream(*objects: Json) -> list[Event]:
    return [Event(value["type"], dump(value)) for value in objects]


def explode(whole: Json) -> list[Event]:
    """The events for an answer, after a trip as bytes."""
    body = b"".join(FORMAT.join_stream(FORMAT.explode(whole, with_usage=True), Shape.SSE))
    return FORMAT.split_stream(body, Shape.SSE)


def feed_sdk(objects: list[Json]) -> None:
    """Let OpenAI's own accumulator take the events; it raises where they contradict each other."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in objects:
            state.handle_event(construct_type(type_=ResponseStreamEvent, value=value))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_streams_with_the_events_of_its_type(name: str) -> None:
    item, expected = ITEMS[name]
    types = [payload["type"].removeprefix("response.") for payload in payloads(explode(answer(item)))]
    assert types == ["created", "in_progress", *expected, "completed"]


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_survives_the_stream(name: str) -> None:
    item, _ = ITEMS[name]
    whole = answer(item, MESSAGE | {"id": "msg_last"})
    events = explode(whole)
    if name.endswith("that failed"):  # older entries may hold such items
        with pytest.raises(FormatError):
            FORMAT.check_events(events)
    else:
        FORMAT.check_events(events)
    assert FORMAT.assemble(events) == whole


@pytest.mark.parametrize("name", ITEMS)
def test_the_official_accumulator_takes_the_events(name: str) -> None:
    item, _ = ITEMS[name]
    feed_sdk(payloads(explode(answer(item, MESSAGE | {"id": "msg_last"}))))


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_opens_in_progress_and_ends_whole(name: str) -> None:
    item, _ = ITEMS[name]
    _, _, added, *_, done, _ = payloads(explode(answer(item)))
    assert added["item"].keys() == done["item"].keys()
    assert added["item"].get("status", "in_progress") == "in_progress"
    assert done["item"] == item


@pytest.mark.parametrize(
    ("item", "later"),
    [
        (MESSAGE, {"content": []}),
        (REASONING, {"summary": [], "content": []}),
        (REASONING | {"content": None}, {"summary": []}),
        (FUNCTION, {"arguments": ""}),
        (CUSTOM, {"input": ""}),
        (MCP, {"arguments": "", "output": None}),
        (MCP_TOOLS, {"tools": []}),
        (CODE, {"code": "", "outputs": None}),
        (FILES, {"results": None}),
        (IMAGE, {"result": None}),
        (COMPUTER, {}),
    ],
    ids=lambda value: value.get("type", ""),
)
def test_what_is_made_later_is_not_in_the_opening_event(item: Json, later: Json) -> None:
    added = payloads(explode(answer(item)))[2]["item"]
    assert added == {**item, **later, **({"status": "in_progress"} if "status" in item else {})}


def test_events_are_numbered_from_zero_and_named_by_their_type() -> None:
    events = explode(answer(REASONING, MESSAGE, FUNCTION))
    assert [payload["sequence_number"] for payload in payloads(events)] == list(range(len(events)))
    assert [event.name for event in events] == [payload["type"] for payload in payloads(events)]


def test_each_event_says_where_it_belongs() -> None:
    sent = payloads(explode(answer(REASONING, {**MESSAGE, "content": [TEXT, REFUSAL]})))
    places = {
        payload["type"]: (
            payload["output_index"],
            payload["item_id"],
            payload.get("content_index"),
            payload.get("summary_index"),
        )
        for payload in sent
        if payload["type"].endswith(".delta")
    }
    assert places == {
        "response.reasoning_summary_text.delta": (0, "rs_1", None, 1),
        "response.reasoning_text.delta": (0, "rs_1", 0, None),
        "response.output_text.delta": (1, "msg_1", 0, None),
        "response.refusal.delta": (1, "msg_1", 1, None),
    }


def test_texts_are_empty_when_they_open_and_logprobs_come_with_the_text() -> None:
    sent = payloads(explode(answer({**MESSAGE, "content": [CITED]})))
    part = next(payload["part"] for payload in sent if payload["type"] == "response.content_part.added")
    assert part == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    delta = next(payload for payload in sent if payload["type"] == "response.output_text.delta")
    assert (delta["delta"], delta["logprobs"]) == (CITED["text"], CITED["logprobs"])
    annotations = [payload["annotation"] for payload in sent if payload["type"].endswith("annotation.added")]
    assert annotations == CITED["annotations"]


def test_the_response_opens_in_progress_without_output_and_usage() -> None:
    whole = answer(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    created, in_progress, *_, last = payloads(explode(whole))
    opened = whole | {
        "status": "in_progress",
        "output": [],
        "usage": None,
        "completed_at": None,
        "incomplete_details": None,
    }
    assert created["response"] == in_progress["response"] == opened
    assert (last["type"], last["response"]) == ("response.incomplete", whole)


def test_lone_surrogates_survive() -> None:
    whole = answer({**MESSAGE, "content": [{**TEXT, "text": "\ud83d"}]})
    assert FORMAT.assemble(explode(whole)) == whole


def test_exploding_leaves_the_answer_alone() -> None:
    whole = answer(REASONING, {**MESSAGE, "content": [CITED]}, MCP)
    before = json.dumps(whole)
    FORMAT.explode(whole, with_usage=True)
    assert json.dumps(whole) == before


def recorded(final: Json, *items: Json) -> list[Event]:
    """A stream whose items ended with these, in backward order, and whose final response is this."""
    ended = [
        {"type": f"response.output_item.{step}", "output_index": index, "item": item}
        for index, item in reversed(list(enumerate(items)))
        for step in ("added", "done")
    ]
    return stream(
        {"type": "response.created", "response": {}}, *ended, {"type": "response.completed", "response": final}
    )


def without(whole: Json, name: str) -> Json:
    return {field: value for field, value in whole.items() if field != name}


@pytest.mark.parametrize(
    "final",
    [answer(), answer(output=None), without(answer(), "output")],
    ids=["empty", "null", "missing"],
)
def test_items_that_the_final_response_leaves_out_are_taken_from_the_stream(final: Json) -> None:
    events = recorded(final, REASONING, MESSAGE)
    FORMAT.check_events(events)
    assert FORMAT.assemble(events) == answer(REASONING, MESSAGE)


def test_the_final_response_wins_over_the_items_before_it() -> None:
    resealed = REASONING | {"encrypted_content": "other"}
    assert FORMAT.assemble(recorded(answer(resealed, MESSAGE), REASONING, MESSAGE))["output"] == [resealed, MESSAGE]


def test_an_item_that_never_ended_is_not_assembled() -> None:
    with pytest.raises(FormatError):
        FORMAT.assemble(BROKEN_STREAMS["an item that never ended"])


def test_an_added_event_without_an_item_is_not_an_item() -> None:
    gap = {"type": "response.output_item.added", "output_index": 7, "item": None}
    events = [*stream(gap), *recorded(answer(), MESSAGE)]
    assert FORMAT.assemble(events)["output"] == [MESSAGE]


def test_the_done_line_of_other_providers_is_passed_over() -> None:
    events = [*explode(answer(MESSAGE)), Event("", b"[DONE]")]
    FORMAT.check_events(events)
    assert FORMAT.assemble(events) == answer(MESSAGE)


COMPLETED = {"type": "response.completed", "response": answer(MESSAGE)}
BROKEN_STREAMS = {
    "no terminal event": explode(answer(MESSAGE))[:-1],
    "terminal event without a response": stream({"type": "response.completed"}),
    "data that is not JSON": [Event("", b"{"), *stream(COMPLETED)],
    "data that is not an object": [Event("", b"[1]"), *stream(COMPLETED)],
    "an error event": stream({"type": "error", "message": "overloaded"}, COMPLETED),
    "an event named error": [Event("error", b'{"message": "overloaded"}'), *stream(COMPLETED)],
    "an error in a data object": [Event("", b'{"error": {"message": "overloaded"}}'), *stream(COMPLETED)],
    "response.failed": stream({"type": "response.failed", "response": answer(status="failed")}, COMPLETED),
    "an error in the final response": stream({**COMPLETED, "response": answer(error={"code": "server_error"})}),
    "a final response that is in progress": stream({**COMPLETED, "response": answer(status="in_progress")}),
    "an item that never ended": stream(
        {"type": "response.output_item.added", "output_index": 0, "item": MESSAGE}, {**COMPLETED, "response": answer()}
    ),
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_a_broken_stream_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        FORMAT.check_events(BROKEN_STREAMS[name])


@pytest.mark.parametrize("whole", [answer(MESSAGE), answer(), answer(MESSAGE, status="incomplete")])
def test_an_answer_that_ended_is_accepted(whole: Json) -> None:
    FORMAT.check_answer(whole)


@pytest.mark.parametrize(
    "whole",
    [
        answer(MESSAGE, error={"code": "server_error", "message": "no"}),
        *(answer(MESSAGE, status=status) for status in ("failed", "in_progress", "queued", "cancelled", None)),
        without(answer(), "status"),
        without(answer(), "output"),
        answer(output=None),
        answer(output="text"),
        answer(output=["text"]),
        {},
    ],
)
def test_an_answer_that_failed_or_did_not_end_is_refused(whole: Json) -> None:
    with pytest.raises(FormatError):
        FORMAT.check_answer(whole)


@pytest.mark.parametrize("kind", [None, 5, [], {"a": 1}])
def test_an_item_or_part_of_no_known_type_is_streamed_whole(kind: Any) -> None:
    whole = answer({"type": kind, "id": "x"}, {**MESSAGE, "content": [{"type": kind}]})
    assert FORMAT.assemble(FORMAT.explode(whole, with_usage=True)) == whole


@pytest.mark.parametrize(
    "content",
    [
        "text",
        ["text"],
        {"type": "output_text"},
        [{"type": "output_text", "text": "a", "annotations": True}],
        [{"type": "output_text", "text": "a", "annotations": "none"}],
    ],
)
def test_content_that_is_not_a_list_of_parts_cannot_be_streamed(content: Any) -> None:
    with pytest.raises(FormatError):
        FORMAT.explode(answer({**MESSAGE, "content": content}), with_usage=True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/responses", ""), ("/responses/", None), ("/responses/resp_1", None), ("/v1/responses", None), ("/chat", None)],
)
def test_only_its_own_path_matches(path: str, expected: str | None) -> None:
    assert FORMAT.match(path) == expected


@pytest.mark.parametrize(
    ("fields", "cached"),
    [
        ({}, True),
        ({"previous_response_id": "resp_0"}, True),
        ({"background": False, "conversation": None}, True),
        ({"background": True}, False),
        ({"conversation": "conv_1"}, False),
        ({"conversation": {"id": "conv_1"}}, False),
    ],
)
def test_state_at_the_provider_bypasses_the_cache(fields: Json, cached: bool) -> None:
    assert (FORMAT.bypass_reason({"model": "m", "input": "hi", **fields}) is None) is cached


def test_only_fields_that_do_not_decide_the_answer_are_left_out_of_the_key() -> None:
    counts = {"model": "m", "input": [{"role": "user", "content": "hi", "metadata": 1}], "store": False, "unknown": 1}
    free = ["stream", "stream_options", "cache_control", "metadata", "user", "safety_identifier"]
    free += ["prompt_cache_key", "prompt_cache_retention"]
    assert FORMAT.key_body(counts | dict.fromkeys(free, "x")) == counts


# A computer-use loop: the model looks, clicks, types and answers; each request holds what went before.
SCREENS = [f"data:image/png;base64,iVBORw0KGgo{letter}" for letter in "ABC"]
ACTIONS: list[Json] = [
    {"type": "screenshot"},
    {"type": "click", "button": "left", "x": 10, "y": 20},
    {"type": "type", "text": "weather tomorrow"},
]


def computer_call(turn: int) -> Json:
    return COMPUTER | {
        "id": f"cu_{turn}",
        "call_id": f"call_{turn}",
        "action": ACTIONS[turn],
        "pending_safety_checks": [],
    }


def loop_turns() -> Iterator[tuple[Json, Json]]:
    """Each turn's request and answer."""
    history: list[Json] = [{"role": "user", "content": "What is the weather tomorrow?"}]
    tool = {"type": "computer_use_preview", "display_width": 1024, "display_height": 768, "environment": "browser"}
    for turn, screen in enumerate(SCREENS):
        output = [REASONING | {"id": f"rs_{turn}"}, computer_call(turn)]
        yield {"model": "m", "tools": [tool], "truncation": "auto", "input": list(history)}, answer(*output)
        shot = {"type": "computer_screenshot", "image_url": screen}
        history += [*output, {"type": "computer_call_output", "call_id": f"call_{turn}", "output": shot}]
    yield {"model": "m", "tools": [tool], "truncation": "auto", "input": history}, answer(MESSAGE)


def test_a_computer_use_loop_replays_in_both_shapes() -> None:
    keys = []
    for request, whole in loop_turns():
        assert FORMAT.bypass_reason(request) is None
        assert FORMAT.key_body(request | {"stream": True}) == request
        keys.append(json.dumps(FORMAT.key_body(request)))
        feed_sdk(payloads(explode(whole)))
        assert FORMAT.assemble(explode(whole)) == whole
    assert len(set(keys)) == len(SCREENS) + 1
    assert SCREENS[-1] in keys[-1]


def test_all_recorded_traffic_translates_without_loss() -> None:
    rows = corpus.exchanges("responses")
    for row in rows:
        body = row["resp_body"].encode("utf-8", "surrogatepass")
        if row["stream"]:
            events = list(sse.parse(body))
            FORMAT.check_events(events)
            whole = FORMAT.assemble(events)
            final = payloads(events)[-1]["response"]
            assert whole == final, row["id"]
        else:
            whole = json.loads(body)
        FORMAT.check_answer(whole)
        exploded = explode(whole)
        feed_sdk(payloads(exploded))
        assert FORMAT.assemble(exploded) == whole, row["id"]


QUESTION: Json = {"role": "user", "content": "Add."}
RESULT: Json = {"type": "function_call_output", "call_id": "call_1", "output": "3"}


@pytest.mark.parametrize(
    ("body", "repeats"),
    [
        ({"input": "Add."}, False),
        ({"input": [QUESTION]}, False),
        ({"input": [QUESTION, {"role": "assistant", "content": "an example, made up"}, QUESTION]}, False),
        ({"input": [QUESTION, FUNCTION, RESULT]}, True),
        ({"input": [QUESTION, COMPUTER]}, True),
        ({"input": [QUESTION, MESSAGE, QUESTION]}, True),
        ({"input": [FUNCTION, RESULT], "previous_response_id": "resp_1"}, False),
        ({"input": [RESULT], "previous_response_id": "resp_1"}, False),
        ({"input": [QUESTION, {"type": "item_reference", "id": "fc_1"}, RESULT, MESSAGE]}, False),
        ({"input": [QUESTION, {"id": "msg_1"}, MESSAGE]}, False),
    ],
)
def test_a_request_repeats_earlier_answers_if_it_holds_them_in_full(body: Json, repeats: bool) -> None:
    assert FORMAT.repeats_answers(body) is repeats


@pytest.mark.parametrize(("store", "is_kept"), [({}, True), ({"store": True}, True), ({"store": False}, False)])
def test_an_answer_is_kept_unless_the_request_says_otherwise(store: Json, is_kept: bool) -> None:
    assert FORMAT.keeps_answer({"input": [QUESTION, FUNCTION, RESULT]} | store) is is_kept
