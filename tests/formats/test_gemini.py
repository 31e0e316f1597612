"""Gemini: routes, shapes, and that a stream and a JSON answer are the same answer."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest

import corpus
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats.gemini import Gemini
from computer_use_cache.models import Event, Shape

GEMINI = Gemini()
HEAD = {"modelVersion": "gemini-test", "responseId": "r-1"}


def event(value: Any) -> Event:
    return Event("", json.dumps(value).encode())


def chunk(*parts: Any, **fields: Any) -> dict[str, Any]:
    """A chunk of one candidate; `fields` are the candidate's."""
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0} | fields]} | HEAD


def assembled_parts(*chunks: dict[str, Any]) -> Any:
    return GEMINI.assemble([event(value) for value in chunks])["candidates"][0]["content"]["parts"]


def fold(chunks: list[Any]) -> dict[str, Any]:
    """The answer of a stream, written apart from the code under test: parts in order with plain text run
    together, the last value of everything else."""
    answer: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    parts: dict[int, list[Any]] = {}
    for value in copy.deepcopy(chunks):
        answer.update(value)
        for candidate in value.get("candidates", []):
            index = candidate.get("index", 0)
            parts.setdefault(index, []).extend(candidate.get("content", {}).get("parts", []))
            candidates.setdefault(index, {}).update(candidate)
    for index, candidate in candidates.items():
        runs = itertools.groupby(
            parts[index], key=lambda part: part.get("thought", False) if set(part) <= {"text", "thought"} else id(part)
        )
        joined = [
            run[0] | {"text": "".join(part["text"] for part in run)} if "text" in run[0] else run[0]
            for run in (list(group) for _, group in runs)
        ]
        if joined:
            candidate["content"]["parts"] = joined
    return answer | {"candidates": [candidates[index] for index in sorted(candidates)]}


VERTEX = "projects/p/locations/l/publishers/google/models/gemini-test"


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/models/gemini-test:generateContent", "models/gemini-test"),
        ("/models/gemini-test:streamGenerateContent", "models/gemini-test"),
        ("/models/gemini%2Dtest%3AgenerateContent", "models/gemini-test"),
        ("/models/tunedModels/mine:generateContent", "models/tunedModels/mine"),
        ("/models/tunedModels%2Fmine:generateContent", "models/tunedModels/mine"),
        ("/tunedModels/mine:generateContent", "tunedModels/mine"),
        ("/publishers/google/models/gemini-test:streamGenerateContent", "publishers/google/models/gemini-test"),
        (f"/{VERTEX}:generateContent", VERTEX),
        (f"/{VERTEX}:streamGenerateContent", VERTEX),
        ("/models/gemini-test:countTokens", None),
        ("/models/gemini-test:embedContent", None),
        ("/models/gemini-test", None),
        ("/models/:generateContent", None),
        ("/models", None),
        ("/chat/completions", None),
        ("/publishers/other/models/x:generateContent", None),
    ],
)
def test_both_methods_of_a_model_are_one_resource(path: str, resource: str | None) -> None:
    assert GEMINI.match(path) == resource


@pytest.mark.parametrize(
    ("resource", "model"),
    [
        ("models/gemini-test", "gemini-test"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("models/tunedModels/mine", "tunedModels/mine"),
        ("publishers/google/models/gemini-test", "gemini-test"),
        (VERTEX, "gemini-test"),
    ],
)
def test_the_model_is_in_the_path(resource: str, model: str) -> None:
    assert GEMINI.model({"model": "not this"}, resource) == model


@pytest.mark.parametrize(
    ("method", "query", "shape"),
    [
        ("generateContent", {}, Shape.JSON),
        ("generateContent", {"alt": "json"}, Shape.JSON),
        ("streamGenerateContent", {"alt": "sse"}, Shape.SSE),
        ("streamGenerateContent", {"$alt": "sse;enum-encoding=int"}, Shape.SSE),
        ("streamGenerateContent", {}, Shape.ARRAY),
        ("streamGenerateContent", {"key": "k", "alt": "json"}, Shape.ARRAY),
    ],
)
def test_method_and_alt_decide_the_shape(method: str, query: dict[str, str], shape: Shape) -> None:
    assert GEMINI.wanted_shape({}, f"/models/m:{method}", tuple(query.items())) is shape


def test_controls_are_not_in_the_key_but_all_else_is() -> None:
    counted = {"contents": [{"parts": [{"text": "hi"}]}], "cachedContent": "cachedContents/1", "labels": {"team": "a"}}
    left_out = {
        "cache_control": {"enabled": True},
        "metadata": {"cache": True},
    }
    assert GEMINI.key_body(counted | left_out) == counted


@pytest.mark.parametrize(
    ("status", "name"),
    [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (504, "DEADLINE_EXCEEDED"), (500, "INTERNAL")],
)
def test_an_error_names_googles_status(status: int, name: str) -> None:
    error = GEMINI.error(RequestError(status, "no"))
    assert error == {"error": {"code": status, "message": "no", "status": name}}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"candidates": []},
        {"candidates": None},
        {"candidates": ["text"]},
        {"candidates": "text"},
        {"candidates": [{"index": "first"}]},
        {"promptFeedback": {"blockReason": "SAFETY"}},
        chunk({"text": "a"}, finishReason="STOP") | {"error": {"code": 500}},
    ],
)
def test_an_answer_without_candidates_or_with_an_error_is_not_stored(answer: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        GEMINI.check_answer(answer)


def test_an_answer_stopped_for_safety_is_stored() -> None:
    GEMINI.check_answer({"candidates": [{"finishReason": "SAFETY"}], "error": None})


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event(chunk({"text": "a"}))],
        [event(chunk({"text": "a"}, finishReason="STOP")), Event("", b'{"candidates": [')],
        [event(chunk({"text": "a"}, finishReason="STOP")), event({"error": {"code": 503}})],
        [event({"candidates": [{"finishReason": "STOP"}, {"index": 1}]})],
        [event({"promptFeedback": {"blockReason": "SAFETY"}})],
        [event([chunk({"text": "a"}, finishReason="STOP")])],
    ],
)
def test_a_stream_that_is_cut_blocked_or_failed_is_not_stored(events: list[Event]) -> None:
    with pytest.raises(FormatError):
        GEMINI.check_events(events)


def test_a_stream_is_whole_when_every_candidate_has_finished() -> None:
    second = {"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}}]}
    GEMINI.check_events(
        [
            event({"usageMetadata": {}}),
            event(second),
            event(chunk({"text": "a"}, finishReason=1)),
            event({"candidates": [{"index": 1, "finishReason": "MAX_TOKENS"}]}),
            event({"candidates": [{"groundingMetadata": {}}]}),
        ]
    )


def test_text_that_goes_on_in_the_next_chunk_becomes_one_part() -> None:
    assert assembled_parts(chunk({"text": "Hel"}), chunk({"text": "lo"}), chunk({"text": ""})) == [{"text": "Hello"}]


CALL = {"functionCall": {"name": "click", "args": {"x": 1}, "id": "c1"}}
SIGNED = {"text": "", "thoughtSignature": "c2ln+/=="}


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "a", "thought": True}, {"text": "b"}],
        [{"text": "a"}, SIGNED],
        [{"text": "a", "thoughtSignature": "s"}, {"text": "b"}],
        [{"text": "a"}, {"text": "b", "novel": 1}],
        [CALL, CALL],
        [CALL | {"thoughtSignature": "s"}, {"text": ""}],
        [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}, {"text": "a"}],
        [{"executableCode": {"code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}],
        ["not an object", {"text": "a"}],
    ],
)
def test_thoughts_signatures_calls_and_data_stay_parts_of_their_own(parts: list[Any]) -> None:
    assert assembled_parts(*(chunk(part) for part in parts)) == parts


def test_thoughts_run_together_among_themselves() -> None:
    parts = [{"text": "x", "thought": True}, {"text": "y", "thought": True}, {"text": "a"}, {"text": "b"}, SIGNED]
    expected = [{"text": "xy", "thought": True}, {"text": "ab"}, SIGNED]
    assert assembled_parts(*(chunk(part) for part in parts)) == expected


def test_parts_of_one_chunk_stay_apart() -> None:
    assert assembled_parts(chunk({"text": "a"}, {"text": "b"}), chunk({"text": "c"})) == [{"text": "a"}, {"text": "bc"}]


def test_candidates_are_distinguished_and_ordered_by_index() -> None:
    def of(index: int, text: str) -> dict[str, Any]:
        return {"candidates": [{"index": index, "content": {"parts": [{"text": text}]}}]}

    answer = GEMINI.assemble([event(of(1, "c")), event(of(0, "a")), event(of(1, "d")), event(of(0, "b"))])
    assert [candidate["content"]["parts"] for candidate in answer["candidates"]] == [[{"text": "ab"}], [{"text": "cd"}]]


def test_candidates_without_an_index_are_distinguished_by_position() -> None:
    answer = {"candidates": [{"finishReason": "STOP"}, {"finishReason": "SAFETY"}]}
    assert GEMINI.assemble([event(answer)]) == answer


def test_of_other_fields_the_last_value_counts_and_none_is_lost() -> None:
    first = chunk({"text": "a"}, urlContextMetadata={"urlMetadata": [1]}, safetyRatings=["LOW"], novel={"a": 1})
    first |= {"promptFeedback": {"safetyRatings": []}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}
    last = chunk({"text": "b"}, safetyRatings=["HIGH"], novel={"b": 2}, groundingMetadata={}, finishReason="STOP")
    last |= {"usageMetadata": {"totalTokenCount": 5}, "createTime": "t", "novel": [1]}
    assert GEMINI.assemble([event(first), event(last), event({"candidates": [{"finishReason": None}]})]) == {
        "candidates": [
            {
                "content": {"parts": [{"text": "ab"}], "role": "model"},
                "index": 0,
                "urlContextMetadata": {"urlMetadata": [1]},
                "safetyRatings": ["HIGH"],
                "novel": {"a": 1, "b": 2},
                "finishReason": "STOP",
                "groundingMetadata": {},
            }
        ],
        **HEAD,
        "promptFeedback": {"safetyRatings": []},
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 5},
        "createTime": "t",
        "novel": [1],
    }


@pytest.mark.parametrize(
    ("field", "lists"),
    [
        ("citationMetadata", ["citationSources"]),
        ("citationMetadata", ["citations"]),
        ("logprobsResult", ["chosenCandidates", "topCandidates"]),
    ],
)
def test_citations_and_log_probabilities_go_on_in_every_chunk(field: str, lists: list[str]) -> None:
    first, last = ({field: {name: [{"at": at}] for name in lists}} for at in (1, 2))
    answer = GEMINI.assemble([event(chunk(**first)), event(chunk()), event(chunk(**last))])
    assert answer["candidates"][0][field] == {name: [{"at": 1}, {"at": 2}] for name in lists}


def grounding(sources: str, *supports: tuple[str, list[int]]) -> dict[str, Any]:
    """Sources by letter, and texts with the sources that they rest on."""
    pointing = [{"segment": {"text": text}, "groundingChunkIndices": indices} for text, indices in supports]
    return {"groundingChunks": [{"web": {"uri": uri}} for uri in sources], "groundingSupports": pointing}


A, B = grounding("a", ("x", [0])), grounding("bc", ("y", [1, 0]))
BOTH = grounding("abc", ("x", [0]), ("y", [2, 1]))


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([A, B], BOTH),
        ([A, B, {"webSearchQueries": ["q"]}], BOTH | {"webSearchQueries": ["q"]}),
        ([A, BOTH], BOTH),
        (
            [A, {"groundingSupports": BOTH["groundingSupports"][1:]}],
            A | {"groundingSupports": BOTH["groundingSupports"]},
        ),
        ([{"searchEntryPoint": {"renderedContent": "r"}}, A], {"searchEntryPoint": {"renderedContent": "r"}} | A),
        ([{"searchEntryPoint": {}}, {}], {"searchEntryPoint": {}}),
    ],
    ids=["in pieces", "and more", "told anew", "supports of known sources", "late", "none"],
)
def test_sources_go_on_and_supports_point_at_them(pieces: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    answer = GEMINI.assemble([event(chunk({"text": "x"}, groundingMetadata=piece)) for piece in pieces])
    assert answer["candidates"][0]["groundingMetadata"] == whole


@pytest.mark.parametrize("with_usage", [True, False])
def test_an_exploded_answer_is_a_whole_stream_that_folds_to_the_same_answer(*, with_usage: bool) -> None:
    parts = [{"text": "t", "thought": True}, {"text": "a"}, {"text": "b\u2028\n"}, CALL, SIGNED, {"novel": [None]}]
    answer = chunk(*parts, finishReason="STOP", novel=None, groundingMetadata={"webSearchQueries": ["q"]})
    answer["candidates"].append({"index": 1, "finishReason": "SAFETY"})
    answer |= {"usageMetadata": {"totalTokenCount": 12345678901234567890}, "novel": {"deep": [1.0]}}
    events = GEMINI.explode(answer, with_usage=with_usage)
    GEMINI.check_events(events)
    assert GEMINI.assemble(events) == answer


def test_an_array_is_written_as_google_does() -> None:
    events = [Event("", b'{"a":1}'), Event("", b'{"b":2}')]
    assert GEMINI.join_stream(events, Shape.ARRAY) == [b'[{"a":1}', b',\r\n{"b":2}', b"]"]


def test_an_array_as_google_indents_it_has_one_line_per_event() -> None:
    body = b'[{\n  "text": "a\\nb"\n}\n,\r\n{\n  "n": 1\n}\n]\n'
    events = GEMINI.split_stream(body, Shape.ARRAY)
    assert events == [Event("", b'{"text":"a\\nb"}'), Event("", b'{"n":1}')]
    assert GEMINI.join_stream(events, Shape.SSE) == [b'data: {"text":"a\\nb"}\n\n', b'data: {"n":1}\n\n']


@pytest.mark.parametrize("length", range(len(b'[{"a": [1]}\n,\r\n{"b": 2}\n]')))
def test_an_array_cut_anywhere_is_not_a_stream(length: int) -> None:
    with pytest.raises(FormatError):
        GEMINI.split_stream(b'[{"a": [1]}\n,\r\n{"b": 2}\n]'[:length], Shape.ARRAY)


def test_an_object_is_not_a_streamed_array() -> None:
    with pytest.raises(FormatError):
        GEMINI.split_stream(b'{"candidates": []}', Shape.ARRAY)


@pytest.mark.parametrize("start", [Shape.SSE, Shape.ARRAY])
@pytest.mark.parametrize("end", [Shape.SSE, Shape.ARRAY])
def test_a_stream_of_either_shape_turns_into_the_other_and_back(start: Shape, end: Shape) -> None:
    events = GEMINI.explode(chunk({"text": "a"}), with_usage=True) + GEMINI.explode(chunk(CALL), with_usage=True)
    body = b"".join(GEMINI.join_stream(events, start))
    turned = b"".join(GEMINI.join_stream(GEMINI.split_stream(body, start), end))
    assert GEMINI.split_stream(turned, end) == events


def test_every_recorded_answer_is_the_same_in_all_shapes() -> None:
    rows = corpus.exchanges("gemini")
    different = []
    for row in rows:
        body = row["resp_body"].encode()
        if row["stream"]:
            events = GEMINI.split_stream(body, Shape.SSE)
            GEMINI.check_events(events)
            same = GEMINI.assemble(events) == fold([json.loads(event.data) for event in events])
        else:
            answer = json.loads(body)
            GEMINI.check_answer(answer)
            events = GEMINI.explode(answer, with_usage=True)
            same = fold([json.loads(event.data) for event in events]) == answer
        array = b"".join(GEMINI.join_stream(events, Shape.ARRAY))
        again = GEMINI.split_stream(array, Shape.ARRAY)
        same = same and GEMINI.assemble(GEMINI.explode(GEMINI.assemble(again), with_usage=True)) == GEMINI.assemble(
            events
        )
        if not same or json.loads(array) != [json.loads(event.data) for event in events]:
            different.append(row["id"])
    assert rows
    assert different == []
