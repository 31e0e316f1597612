"""Present values in recorded answers: every API, every shape, and the parts that must stay as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.formats.base import Format, Json, dump
from computer_use_cache.models import Event
from computer_use_cache.rebinding import Cause, Rebound, Refusal, Template
from rebinding.conversations import (
    CHAT,
    GEMINI,
    MESSAGES,
    RESPONSES,
    called,
    carried,
    chat,
    digest,
    said,
    streamed_by_character,
    template,
    text_of,
)

OLD, NEW = "/tmp/agent-Ab3dEf9h", "/tmp/agent-Zx8yWv7u"
USAGE = {"input_tokens": 1001, "output_tokens": 20}


def messages_body(text: str) -> Json:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}


def responses_body(text: str) -> Json:
    return {"model": "m", "store": False, "input": [{"type": "message", "role": "user", "content": text}]}


def gemini_body(text: str) -> Json:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


BODIES = {CHAT.name: chat, MESSAGES.name: messages_body, RESPONSES.name: responses_body, GEMINI.name: gemini_body}


def pair(format: Format) -> tuple[Template, Template]:
    old, new = (template(BODIES[format.name](f"made {path}"), format=format) for path in (OLD, NEW))
    return old, new


def rebound(format: Format, answer: Json | Sequence[Event]) -> Any:
    outcome = carried(*pair(format), answer, format=format)
    assert isinstance(outcome, Rebound), outcome
    return outcome.answer


def refused(format: Format, answer: Json | Sequence[Event]) -> Cause:
    outcome = carried(*pair(format), answer, format=format)
    assert isinstance(outcome, Refusal), outcome
    return outcome.cause


def message(*blocks: Json) -> Json:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-2024-08-06", "content": list(blocks)}
    return head | {"stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE}


def response(*items: Json) -> Json:
    return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": list(items)}


def candidate(*parts: Json) -> Json:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}]}


def text_item(text: str) -> Json:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def call_item(arguments: Json) -> Json:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "bash", "status": "completed"}
    return call | {"arguments": json.dumps(arguments)}


ANSWERS: dict[str, tuple[Format, Any]] = {
    "chat: text": (CHAT, lambda path: said(f"in {path}/x")),
    "chat: arguments": (CHAT, lambda path: called(json.dumps({"command": f'cat "{path}/x"\n'}))),
    "messages: text": (MESSAGES, lambda path: message({"type": "text", "text": f"in {path}/x"})),
    "messages: input": (
        MESSAGES,
        lambda path: message({"type": "tool_use", "id": "toolu_1", "name": "b", "input": {"c": [f"cat {path}/x", 7]}}),
    ),
    "responses: text": (RESPONSES, lambda path: response(text_item(f"in {path}/x"))),
    "responses: arguments": (RESPONSES, lambda path: response(call_item({"command": f"cat {path}/x"}))),
    "responses: instructions that it repeats": (
        RESPONSES,
        lambda path: response(text_item("ok")) | {"instructions": f"Work in {path}."},
    ),
    "gemini: text": (GEMINI, lambda path: candidate({"text": f"in {path}/x"})),
    "gemini: args": (
        GEMINI,
        lambda path: candidate(
            {"functionCall": {"name": "b", "args": {"c": f"cat {path}/x"}}, "thoughtSignature": "c2ln"}
        ),
    ),
}


@pytest.mark.parametrize(("format", "answer"), ANSWERS.values(), ids=ANSWERS)
class TestEveryApi:
    def test_a_json_answer_holds_the_present_value(self, format: Format, answer: Any) -> None:
        assert rebound(format, answer(OLD)) == answer(NEW)

    def test_a_stream_holds_the_present_value(self, format: Format, answer: Any) -> None:
        events = rebound(format, format.explode(answer(OLD), with_usage=True))
        format.check_events(events)
        assert format.assemble(events) == format.assemble(format.explode(answer(NEW), with_usage=True))

    def test_an_answer_without_a_moved_value_is_the_recorded_one(self, format: Format, answer: Any) -> None:
        events = format.explode(answer("/srv/data"), with_usage=True)
        assert rebound(format, events) is events
        whole = answer("/srv/data")
        assert rebound(format, whole) is whole


def test_a_value_may_be_cut_anywhere_by_a_stream() -> None:
    events = rebound(CHAT, streamed_by_character(f"cat {OLD}/result.txt"))
    assert text_of(CHAT.assemble(events)) == f"cat {NEW}/result.txt"


def test_a_value_cut_by_two_content_blocks_is_refused() -> None:
    blocks = [{"type": "text", "text": part} for part in (f"in {OLD[:12]}", f"{OLD[12:]}/x")]
    assert refused(MESSAGES, message(*blocks)) is Cause.TRACE


def test_a_number_in_an_input_is_replaced_and_usage_is_not() -> None:
    old, new = (template(messages_body(f"PID: {pid}"), format=MESSAGES) for pid in (1001, 2345))
    block = {"type": "tool_use", "id": "toolu_1", "name": "kill", "input": {"pid": 1001, "after": 0.5}}
    outcome = carried(old, new, message(block), format=MESSAGES)
    assert outcome == Rebound(message(block | {"input": {"pid": 2345, "after": 0.5}}), {"pid": 1})


@pytest.mark.parametrize("now", [800, 0.5])
def test_a_number_whose_name_says_what_it_is_is_replaced(now: float) -> None:
    old, new = (template(messages_body(f"duration_ms: {duration}"), format=MESSAGES) for duration in (300, now))
    block = {"type": "tool_use", "id": "toolu_1", "name": "fade", "input": {"duration_ms": 300, "steps": 300}}
    outcome = carried(old, new, message(block), format=MESSAGES)
    assert outcome == Rebound(message(block | {"input": {"duration_ms": now, "steps": 300}}), {"duration": 1})


def test_figures_of_an_outdated_day_in_an_input_are_refused() -> None:
    old, new = (template(messages_body(f"Today is 2026-11-{day}."), format=MESSAGES) for day in (26, 28))
    for figures in ({"month": 11, "day": 26}, {"day": "26"}):
        block = {"type": "tool_use", "id": "toolu_1", "name": "create_event", "input": figures}
        assert carried(old, new, message(block), format=MESSAGES) == Refusal(Cause.COMPUTED, "time")


def test_a_name_in_an_input_is_replaced() -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {"files": {f"{OLD}/x": "done"}}}
    assert rebound(MESSAGES, message(block))["content"][0]["input"] == {"files": {f"{NEW}/x": "done"}}


def test_it_is_counted_by_kind_what_was_replaced() -> None:
    outcome = carried(*pair(CHAT), said(f"{OLD} {OLD}"))
    assert isinstance(outcome, Rebound)
    assert outcome.counts == {"tmp": 2}


SIGNED: dict[str, tuple[Format, Json]] = {
    "thinking": (MESSAGES, message({"type": "thinking", "thinking": f"Use {OLD}.", "signature": "c2ln"})),
    "reasoning with its encrypted form": (
        RESPONSES,
        response(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": f"Use {OLD}."}],
                "encrypted_content": "Z2VoZWlt",
            }
        ),
    ),
    "a drawn picture": (
        RESPONSES,
        response({"type": "image_generation_call", "id": "ig_1", "revised_prompt": f"Draw {OLD}.", "result": "aWc="}),
    ),
    "a thought": (GEMINI, candidate({"text": f"Use {OLD}.", "thought": True, "thoughtSignature": "c2ln"})),
    "reasoning details": (
        CHAT,
        {
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "ok",
                        "reasoning_details": [{"type": "reasoning.text", "text": f"Use {OLD}.", "signature": "c2ln"}],
                    },
                }
            ]
        },
    ),
}


@pytest.mark.parametrize(("format", "answer"), SIGNED.values(), ids=SIGNED)
def test_a_signed_part_that_holds_a_moved_value_is_refused(format: Format, answer: Json) -> None:
    assert refused(format, answer) is Cause.SIGNED


def test_signed_parts_stay_as_they_are() -> None:
    thinking = {"type": "thinking", "thinking": "Use the folder.", "signature": "c2ln"}
    redacted = {"type": "redacted_thinking", "data": "Z2VoZWlt"}
    answer = rebound(MESSAGES, message(thinking, redacted, {"type": "text", "text": OLD}))
    assert answer["content"] == [thinking, redacted, {"type": "text", "text": NEW}]


def test_log_probabilities_of_a_changed_text_are_refused() -> None:
    answer = said(f"in {OLD}")
    answer["choices"][0]["logprobs"] = {"content": [{"token": "in", "logprob": -0.1, "bytes": [105, 110]}]}
    assert refused(CHAT, answer) is Cause.POSITIONS


def test_citations_that_count_the_characters_of_a_changed_text_are_refused() -> None:
    answer = said(f"in {OLD}")
    link = {"url": "https://a.example", "start_index": 3, "end_index": 9}
    answer["choices"][0]["message"]["annotations"] = [{"type": "url_citation", "url_citation": link}]
    assert refused(CHAT, answer) is Cause.POSITIONS


def test_an_embedding_of_another_text_is_refused() -> None:
    embeddings = formats.by_name("embeddings")
    old, new = (template({"model": "m", "input": f"in {path}"}, format=embeddings) for path in (OLD, NEW))
    answer = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]}
    assert carried(old, new, answer, format=embeddings) == Refusal(Cause.NOT_TEXT)


def test_a_stream_that_cannot_be_assembled_is_refused() -> None:
    assert refused(CHAT, [Event("", dump({"choices": "none"}))]) is Cause.MALFORMED


def test_ten_thousand_moved_values_are_replaced() -> None:
    old, new = ([f"{n:08x}-9d4a-4c6b-8e7f-{which}a2b3c4d5e6f" for n in range(10_000)] for which in "12")
    recorded, present = (template(chat("\n".join(ids))) for ids in (old, new))
    assert digest(recorded) == digest(present)
    outcome = carried(recorded, present, said(" ".join(reversed(old))))
    assert isinstance(outcome, Rebound)
    assert text_of(outcome.answer) == " ".join(reversed(new))
