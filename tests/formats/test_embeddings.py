"""Embeddings: what enters the key, floats and base64, and batches taken apart and put together."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import corpus
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import dump
from computer_use_cache.formats.embeddings import Embeddings
from computer_use_cache.models import Shape

EMBEDDINGS = Embeddings()
FLOATS = [0.25, -0.1, 0.0022786001, 0.0]
BASE64 = base64.b64encode(struct.pack("<4f", *FLOATS)).decode()


def request(value: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "embed-test", "input": value} | fields


def answer(*embeddings: Any, **fields: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    return {"object": "list", "data": data, "model": "embed-test-2"} | fields


def test_only_the_embeddings_path_matches() -> None:
    paths = ["/embeddings", "/embeddings/", "/models/m/embeddings", "/chat/completions", "/api/embeddings"]
    assert [EMBEDDINGS.match(path) for path in paths] == ["", None, None, None, None]


def test_an_embedding_is_json_whatever_the_request_says() -> None:
    assert EMBEDDINGS.wanted_shape({"stream": True}, "/embeddings", (("alt", "sse"),)) is Shape.JSON


@pytest.mark.parametrize(
    "call",
    [
        lambda: EMBEDDINGS.check_events([]),
        lambda: EMBEDDINGS.assemble([]),
        lambda: EMBEDDINGS.explode(answer([0.5]), with_usage=True),
    ],
)
def test_embeddings_have_no_streams(call: Callable[[], object]) -> None:
    with pytest.raises(FormatError, match="not streamed"):
        call()


@pytest.mark.parametrize(
    "same",
    [
        request(["x"]),
        request("x", encoding_format="float"),
        request("x", encoding_format="base64"),
        request("x", encoding_format=None),
        request("x", user="u", cache_control={}, metadata={}, stream=False, stream_options={}),
    ],
)
def test_requests_for_the_same_numbers_share_a_key(same: dict[str, Any]) -> None:
    assert EMBEDDINGS.key_body(same) == request("x")


def test_a_batch_of_one_token_list_is_that_token_list() -> None:
    assert EMBEDDINGS.key_body(request([[1, 2]])) == EMBEDDINGS.key_body(request([1, 2])) == request([1, 2])


@pytest.mark.parametrize(
    "other",
    [
        request(["x", "x"]),
        request([["x"]]),
        request("x", dimensions=256),
        request("x", novel=1),
        request("x", output_dtype="int8", encoding_format="base64"),
        request("x", encoding_format="bytes"),
        request("x") | {"model": "other"},
    ],
)
def test_requests_for_other_numbers_do_not(other: dict[str, Any]) -> None:
    assert EMBEDDINGS.key_body(other) != request("x")


@pytest.mark.parametrize("value", [[7], [], [[]], [{"image": "x"}], None])
def test_anything_but_a_batch_of_one_is_left_alone(value: Any) -> None:
    assert EMBEDDINGS.key_body(request(value)) == request(value)


def test_a_request_without_input_gets_none_in_its_key() -> None:
    assert EMBEDDINGS.key_body({"model": "embed-test"}) == {"model": "embed-test"}


def test_the_request_is_left_alone() -> None:
    body = request(["x"], encoding_format="base64", user="u")
    EMBEDDINGS.key_body(body)
    assert body == request(["x"], encoding_format="base64", user="u")


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"data": []},
        {"data": {}},
        {"embedding": [0.5]},
        {"data": [[0.5]]},
        {"data": [{"embedding": [0.5]}]},
        {"data": [{"embedding": [0.5], "index": "0"}]},
        {"data": [{"embedding": [0.5], "index": True}]},
        {"data": [{"index": 0}]},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": 0.5}]},
        answer([0.5], error={"message": "no"}),
    ],
)
def test_an_answer_without_embeddings_or_with_an_error_is_not_stored(bad: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        EMBEDDINGS.check_answer(bad)


@pytest.mark.parametrize("embedding", [FLOATS, BASE64, [[0.5]]])
def test_an_answer_with_embeddings_is_stored(embedding: Any) -> None:
    EMBEDDINGS.check_answer(answer(embedding, error=None))


@pytest.mark.parametrize(
    ("recorded", "body"),
    [
        (FLOATS, request("x")),
        (FLOATS, request("x", encoding_format="float")),
        (FLOATS, request("x", encoding_format=None)),
        (BASE64, request("x", encoding_format="base64")),
        (BASE64, request("x", encoding_format="bytes")),
        (BASE64, request("x", embedding_type="base64")),
        ([1, -7], request("x", output_dtype="int8", encoding_format="base64")),
    ],
)
def test_an_answer_in_the_encoding_asked_for_stays_the_same_bytes(recorded: Any, body: dict[str, Any]) -> None:
    raw = json.dumps(answer(recorded), indent=2).encode()
    assert EMBEDDINGS.adapt_answer(raw, body) is raw


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("recorded", "wanted", "encoding"), [(BASE64, FLOATS, "float"), (BASE64, FLOATS, None), (FLOATS, BASE64, "base64")]
)
def test_an_answer_in_the_other_encoding_is_recoded_and_keeps_all_else(
    recorded: Any, wanted: Any, encoding: str | None, indent: int | None
) -> None:
    raw = json.dumps(answer(recorded, wanted, novel={"a": 2**70}), indent=indent).encode()
    adapted = EMBEDDINGS.adapt_answer(raw, request(["x", "y"], encoding_format=encoding))
    assert json.loads(adapted) == answer(wanted, wanted, novel={"a": 2**70})


@pytest.mark.parametrize(
    ("recorded", "encoding"),
    [
        ("not base64!", "float"),
        ("AAA=", "float"),
        ("AAAA!Pw==", "float"),
        (base64.b64encode(struct.pack("<f", math.nan)).decode(), "float"),
        ([1e39], "base64"),
        (["0.5"], "base64"),
        ([[0.5]], "base64"),
    ],
)
def test_what_is_not_float32_is_not_recoded(recorded: Any, encoding: str) -> None:
    with pytest.raises(FormatError):
        EMBEDDINGS.adapt_answer(dump(answer(recorded)), request("x", encoding_format=encoding))


@pytest.mark.parametrize(
    ("bits", "decimal"),
    [
        (0x3F800000, "1.0"),
        (0x3DCCCCCD, "0.1"),
        (0x3EAAAAAB, "0.33333334"),
        (0x4B800000, "16777216.0"),
        (0x7F7FFFFF, "3.4028235e+38"),
        (0x00800000, "1.1754944e-38"),
        (0x00000001, "1e-45"),
        (0x80000000, "-0.0"),
    ],
)
def test_floats_are_printed_with_the_fewest_digits(bits: int, decimal: str) -> None:
    raw = dump(answer(base64.b64encode(struct.pack("<I", bits)).decode()))
    adapted = EMBEDDINGS.adapt_answer(raw, request("x"))
    assert f'"embedding":[{decimal}]'.encode() in adapted


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_base64_to_floats_and_back_is_the_same_base64(numbers: list[float]) -> None:
    raw = dump(answer(base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()))
    floats = EMBEDDINGS.adapt_answer(raw, request("x"))
    assert EMBEDDINGS.adapt_answer(floats, request("x", encoding_format="base64")) == raw


def test_the_openai_sdk_reads_the_same_numbers_from_both_encodings() -> None:
    recorded = dump(answer(FLOATS, usage={"prompt_tokens": 1, "total_tokens": 1}))
    asked: list[Any] = []

    def serve(sent: httpx2.Request) -> httpx2.Response:
        asked.append(json.loads(sent.content).get("encoding_format"))
        body = EMBEDDINGS.adapt_answer(recorded, json.loads(sent.content))
        return httpx2.Response(200, content=body, headers={"content-type": "application/json"})

    http = httpx2.Client(transport=httpx2.MockTransport(serve))
    client = openai.OpenAI(api_key="unused", base_url="http://upstream.test/v1", http_client=http)
    by_default = client.embeddings.create(model="embed-test", input="x").data[0].embedding
    as_floats = client.embeddings.create(model="embed-test", input="x", encoding_format="float").data[0].embedding
    assert asked == ["base64", "float"]
    assert struct.pack("<4f", *by_default) == struct.pack("<4f", *as_floats) == struct.pack("<4f", *FLOATS)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        (request(["a", "b", "a"]), ["a", "b", "a"]),
        (request([[1, 2], [3]]), [[1, 2], [3]]),
        (request(["a", [1]]), ["a", [1]]),
        (request("ab"), []),
        (request(["a"]), []),
        (request([[1, 2]]), []),
        (request([1, 2]), []),
        (request([]), []),
        (request(["a", {"image": "b"}]), []),
        (request([["a"], ["b"]]), []),
        (request([["a", "b"], []]), []),
        (request([[True], [False]]), []),
        ({"model": "embed-test"}, []),
        (request(["a", "b"], late_chunking=True), []),
        (request(["a", "b"], late_chunking=False), ["a", "b"]),
    ],
)
def test_a_batch_is_two_or_more_texts_or_token_lists(body: dict[str, Any], inputs: list[Any]) -> None:
    assert EMBEDDINGS.inputs(body) == inputs


@pytest.mark.parametrize("one", ["a", [1, 2]])
@pytest.mark.parametrize("fields", [{"encoding_format": "base64", "user": "u"}, {"input_type": "query"}])
def test_an_input_of_a_batch_has_the_key_of_a_request_for_it_alone(one: Any, fields: dict[str, Any]) -> None:
    alone = EMBEDDINGS.key_body(EMBEDDINGS.single(request([one, "b"], **fields), one))
    assert alone == EMBEDDINGS.key_body(request(one, **fields)) == EMBEDDINGS.key_body(request([one], **fields))


def test_only_unseen_inputs_are_forwarded_each_once_in_order() -> None:
    body = request(["a", "b", [1], "c", [1], "b"], encoding_format="base64", user="u")
    assert EMBEDDINGS.subset(body, ["b", [1], [1], "b"]) == request(["b", [1]], encoding_format="base64", user="u")


def test_the_answer_to_a_batch_is_split_by_index_whatever_its_order() -> None:
    whole = answer([0.5], [0.25], id="e-1", novel={"a": 1})
    whole["data"] = [whole["data"][1] | {"novel": 2}, whole["data"][0]]
    assert EMBEDDINGS.split(request(["a", "b"]), whole) == [
        answer([0.5], id="e-1", novel={"a": 1}),
        answer([0.25], id="e-1", novel={"a": 1}) | {"data": [{**answer([0.25])["data"][0], "novel": 2}]},
    ]


@pytest.mark.parametrize("indexes", [[0], [0, 1, 2], [0, 0], [1, 2], []])
def test_an_answer_that_does_not_fit_the_inputs_is_not_split(indexes: list[int]) -> None:
    data = [{"index": index, "embedding": [0.5]} for index in indexes]
    with pytest.raises(FormatError):
        EMBEDDINGS.split(request(["a", "b"]), {"data": data})


def test_a_forwarded_rest_of_one_input_is_split_too() -> None:
    assert EMBEDDINGS.split(request(["b"]), answer([0.5])) == [answer([0.5])]


@pytest.mark.parametrize(
    ("inputs", "usage", "shares"),
    [
        (["aaaa", "bb"], {"total_tokens": 6}, [{"total_tokens": 4}, {"total_tokens": 2}]),
        ([[1, 2, 3], [4]], {"prompt_tokens": 4}, [{"prompt_tokens": 3}, {"prompt_tokens": 1}]),
        (["a", "b", "c"], {"prompt_tokens": 2}, [{"prompt_tokens": 1}, {"prompt_tokens": 1}, {"prompt_tokens": 0}]),
        (["a", "bb"], {"prompt_tokens": 4}, [{"prompt_tokens": 1}, {"prompt_tokens": 3}]),
        (["aa", ""], {"prompt_tokens": 3}, [{"prompt_tokens": 2}, {"prompt_tokens": 1}]),
        (["", ""], {"prompt_tokens": 4}, [{"prompt_tokens": 2}, {"prompt_tokens": 2}]),
        (["a", "b"], {"details": {"text": 3}}, [{"details": {"text": 2}}, {"details": {"text": 1}}]),
        (["a", "b"], {"cost": 0.75}, [{"cost": 0.375}, {"cost": 0.375}]),
        (["a", "b"], {"cost": math.inf}, [{"cost": math.inf}, {"cost": math.inf}]),
        (["a", "b"], {"tier": "x", "on": True, "n": None}, [{"tier": "x", "on": True, "n": None}] * 2),
    ],
)
def test_usage_is_shared_out_by_length(inputs: list[Any], usage: Any, shares: list[Any]) -> None:
    whole = answer(*([0.5] for _ in inputs), usage=usage)
    assert [single["usage"] for single in EMBEDDINGS.split(request(inputs), whole)] == shares


def test_a_joined_answer_counts_its_own_indexes_and_sums_every_number_of_the_usage() -> None:
    first = answer([0.5], id="e-1", usage={"prompt_tokens": 1, "cost": 0.25, "d": {"n": 1}, "a": None, "tier": "x"})
    other = answer([0.25], id="e-2", usage={"prompt_tokens": 2, "cost": 0.5, "d": {"n": 2}, "a": 3, "tier": "y"})
    usage = {"prompt_tokens": 3, "cost": 0.75, "d": {"n": 3}, "a": 3, "tier": "x"}
    assert EMBEDDINGS.join([first, other]) == answer([0.5], [0.25], id="e-1", usage=usage)


@pytest.mark.parametrize("number", [10**400, float("inf"), -1e308], ids=["400 digits", "endless", "-1e308"])
def test_numbers_that_cannot_be_added_are_left_as_they_are(number: float) -> None:
    answers = [
        {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"cost": number}},
        {"data": [{}], "usage": {"cost": 0.5}},
    ]
    assert EMBEDDINGS.join(answers)["usage"] == {"cost": number}


def test_answers_without_usage_join_without_usage() -> None:
    assert EMBEDDINGS.join([answer([0.5]), answer([0.25])]) == answer([0.5], [0.25])


def test_a_batch_joined_from_recordings_of_both_encodings_is_recoded_whole() -> None:
    joined = dump(EMBEDDINGS.join([answer(FLOATS), answer(BASE64)]))
    for encoding, wanted in (("float", FLOATS), ("base64", BASE64)):
        adapted = EMBEDDINGS.adapt_answer(joined, request(["a", "b"], encoding_format=encoding))
        assert json.loads(adapted) == answer(wanted, wanted)


TOKENS = st.lists(st.integers(0, 2**17), min_size=1, max_size=9)
COUNTS = st.dictionaries(
    st.sampled_from(["prompt_tokens", "total_tokens", "cost", "details"]),
    st.recursive(
        st.none() | st.integers(0, 10**9) | st.floats(1e-12, 100) | st.just(0.0),
        lambda value: st.dictionaries(st.sampled_from("ab"), value, max_size=2),
        max_leaves=3,
    ),
)


@given(st.lists(st.text(max_size=9) | TOKENS, min_size=2, max_size=9), COUNTS)
def test_a_batch_split_and_joined_again_is_what_the_upstream_said(inputs: list[Any], usage: dict[str, Any]) -> None:
    whole = answer(*([position / 8] for position in range(len(inputs))), usage=usage, id="e-1")
    assert EMBEDDINGS.join(EMBEDDINGS.split(request(inputs), whole)) == whole


def test_every_recorded_answer_survives_recoding_and_batches() -> None:
    # Ollama's own `/api/embeddings` is another API.
    rows = [row for row in corpus.exchanges("embeddings") if "/api/embeddings" not in row["url"]]
    different = []
    for row in rows:
        body, raw = row["req_body"], row["resp_body"].encode()
        whole = json.loads(raw)
        EMBEDDINGS.check_answer(whole)
        same = EMBEDDINGS.adapt_answer(raw, body) is raw
        same = same and EMBEDDINGS.join(EMBEDDINGS.split(body, whole)) == whole
        plain = {"model": body["model"], "input": body["input"]}
        other, own = ("float", "base64") if body.get("encoding_format") == "base64" else ("base64", "float")
        turned = EMBEDDINGS.adapt_answer(raw, plain | {"encoding_format": other})
        back = json.loads(EMBEDDINGS.adapt_answer(turned, plain | {"encoding_format": own}))
        again = EMBEDDINGS.adapt_answer(dump(back), plain | {"encoding_format": other})
        same = same and again == turned and back | {"data": None} == whole | {"data": None}
        # Mistral prints more digits than a float32 has.
        same = same and ("mistral" in body["model"] or back == whole)
        if not same:
            different.append(row["id"])
    assert rows
    assert different == []


FLOAT_ANSWER, BASE64_ANSWER = (
    b'{"data": [{"index": 0, "embedding": [0.5]}]}',
    b'{"data": [{"index": 0, "embedding": "AAAAPw=="}]}',
)


@pytest.mark.parametrize(
    ("body", "asked", "unasked"),
    [
        (FLOAT_ANSWER, None, ""),
        (FLOAT_ANSWER, "float", ""),
        (BASE64_ANSWER, "base64", ""),
        (BASE64_ANSWER, None, "float"),
        (BASE64_ANSWER, "float", "float"),
        (FLOAT_ANSWER, "base64", "base64"),
        (BASE64_ANSWER, "base64_int8", ""),
    ],
)
def test_a_form_that_nobody_asked_for_is_noticed(body: bytes, asked: str | None, unasked: str) -> None:
    assert EMBEDDINGS.unasked_form(body, {"model": "m", "input": "a", "encoding_format": asked}) == unasked


def test_what_came_unasked_is_replayed_unchanged_or_not_at_all() -> None:
    floats, base64_ = ({"model": "m", "input": "a", "encoding_format": form} for form in ("float", "base64"))
    assert EMBEDDINGS.adapt_answer(BASE64_ANSWER, floats, "float") == BASE64_ANSWER
    with pytest.raises(FormatError, match="not asked for"):
        EMBEDDINGS.adapt_answer(BASE64_ANSWER, base64_, "float")
    assert EMBEDDINGS.adapt_answer(FLOAT_ANSWER, base64_, "base64") == FLOAT_ANSWER
    assert EMBEDDINGS.adapt_answer(FLOAT_ANSWER, floats, "base64") == FLOAT_ANSWER
