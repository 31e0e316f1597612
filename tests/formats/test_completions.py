"""Legacy completions: the text of every choice is the same in a stream and in an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

import corpus
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import sse
from computer_use_cache.formats.completions import Completions
from computer_use_cache.models import Event

Json = dict[str, Any]
COMPLETIONS = Completions()
HEAD: Json = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "tiny-1"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
LOGPROBS = {"tokens": ["a"], "token_logprobs": [-1.5], "top_logprobs": None, "text_offset": [0]}
ANSWER = HEAD | {
    "choices": [
        {"text": "ab", "index": 0, "logprobs": LOGPROBS, "finish_reason": "stop", "stop_reason": 7},
        {"text": "", "index": 1, "logprobs": None, "finish_reason": "length"},
    ],
    "usage": USAGE,
    "system_fingerprint": "fp",
    "extra": {"kept": [1]},
}


def stream(*chunks: Json) -> list[Event]:
    return [*(Event("", json.dumps(chunk).encode()) for chunk in chunks), Event("", b"[DONE]")]


def chunk(text: str | None, **choice: Any) -> Json:
    return HEAD | {"choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": None} | choice]}


def test_an_answer_survives_as_a_stream() -> None:
    events = COMPLETIONS.explode(ANSWER, with_usage=True)
    COMPLETIONS.check_events(events)
    assert COMPLETIONS.assemble(events) == ANSWER


def test_requested_usage_comes_in_its_own_chunk() -> None:
    *chunks, done = COMPLETIONS.explode(ANSWER, with_usage=True)
    assert [json.loads(event.data)["usage"] for event in chunks] == [None, None, USAGE]
    assert json.loads(chunks[-1].data)["choices"] == []
    assert done.data == b"[DONE]"


def test_usage_is_left_out_when_not_wanted() -> None:
    *chunks, _ = COMPLETIONS.explode(ANSWER, with_usage=False)
    assert not any("usage" in json.loads(event.data) for event in chunks)


def test_text_and_logprobs_of_every_choice_grow() -> None:
    events = stream(
        chunk("x", index=1),
        chunk("a", logprobs=LOGPROBS),
        chunk("b", logprobs=LOGPROBS, finish_reason="stop"),
        chunk(None),
        chunk("y", index=1, finish_reason="length"),
    )
    grown = {"tokens": ["a"] * 2, "token_logprobs": [-1.5] * 2, "top_logprobs": None, "text_offset": [0, 0]}
    assert COMPLETIONS.assemble(events)["choices"] == [
        {"index": 0, "text": "ab", "logprobs": grown, "finish_reason": "stop"},
        {"index": 1, "text": "xy", "logprobs": None, "finish_reason": "length"},
    ]


def test_a_text_that_is_not_a_string_is_refused() -> None:
    with pytest.raises(FormatError):
        COMPLETIONS.assemble(stream(HEAD | {"choices": [{"text": 1}]}))


@pytest.mark.parametrize(("path", "resource"), [("/completions", ""), ("/chat/completions", None)])
def test_only_its_own_path_matches(path: str, resource: str | None) -> None:
    assert COMPLETIONS.match(path) == resource


def test_recorded_traffic_goes_both_ways_without_loss() -> None:
    changed, refused = [], []
    for row in corpus.exchanges("completions"):
        try:
            if row["stream"]:
                events = list(sse.parse(row["resp_body"].encode()))
                COMPLETIONS.check_events(events)
                whole = COMPLETIONS.assemble(events)
            else:
                whole = json.loads(row["resp_body"])
                COMPLETIONS.check_answer(whole)
        except FormatError:
            refused.append(row["id"])
            continue
        if COMPLETIONS.assemble(COMPLETIONS.explode(whole, with_usage=True)) != whole:
            changed.append(row["id"])
    # One stream is of another API; one answer names no index or object, one another object.
    assert (len(refused) <= 1, len(changed) <= 2) == (True, True)
