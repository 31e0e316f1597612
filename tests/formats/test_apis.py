"""Every API that has no test file of its own, in its provider's wire form: one entry serves the shapes that its clients
ask for, and neither an error nor half an answer is ever kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.replay import replay
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import transcript
from computer_use_cache.formats.base import load_object
from computer_use_cache.formats.findings import Findings
from computer_use_cache.keys import upstream
from computer_use_cache.models import Entry, Event, Request, Response, Shape, Skipped
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import jsonl

NOW = 1_800_000_000.0
BASE = BaseUrl.parse("https://api.example/v1")


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def sse(*values: Any, named: bool = False) -> bytes:
    heads = [f"event: {value['type']}\n" if named else "" for value in values]
    return "".join(f"{head}data: {json.dumps(value)}\n\n" for head, value in zip(heads, values, strict=True)).encode()


@dataclass(frozen=True)
class Api:
    """How one API is called (`asked` is all of the body but `stream`), and its answer in both shapes. `streams` is what
    `stream` says when a client wants a stream."""

    path: str
    asked: dict[str, Any]
    answer: dict[str, Any]
    stream: bytes = b""
    stream_type: str = "text/event-stream"
    streams: dict[str, Any] = field(default_factory=lambda: {"stream": True})
    whole: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=lambda: {"error": {"message": "It is overloaded."}})


QUESTION = [{"role": "user", "content": "What is the weather in Oslo?"}]
OLLAMA_HEAD = {"model": "llama", "created_at": "2026-11-01T10:00:00Z"}
OLLAMA_END = {"done": True, "done_reason": "stop", "total_duration": 9, "prompt_eval_count": 4, "eval_count": 2}
OLLAMA_CALL = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}

OLLAMA_CHAT = Api(
    "/api/chat",
    {"model": "llama", "messages": QUESTION},
    OLLAMA_HEAD
    | OLLAMA_END
    | {"message": {"role": "assistant", "content": "Let me see.", "thinking": "Oslo", "tool_calls": [OLLAMA_CALL]}},
    lines(
        OLLAMA_HEAD | {"message": {"role": "assistant", "content": "", "thinking": "Os"}, "done": False},
        OLLAMA_HEAD | {"message": {"role": "assistant", "content": "", "thinking": "lo"}, "done": False},
        OLLAMA_HEAD | {"message": {"role": "assistant", "content": "Let me "}, "done": False},
        OLLAMA_HEAD | {"message": {"role": "assistant", "content": "see."}, "done": False},
        OLLAMA_HEAD | {"message": {"role": "assistant", "content": "", "tool_calls": [OLLAMA_CALL]}, "done": False},
        OLLAMA_HEAD | {"message": {"role": "assistant", "content": ""}} | OLLAMA_END,
    ),
    "application/x-ndjson",
    streams={},
    whole={"stream": False},
    error={"error": "model runner has unexpectedly stopped"},
)
OLLAMA_GENERATE = Api(
    "/api/generate",
    {"model": "llama", "prompt": "Count to two."},
    OLLAMA_HEAD | OLLAMA_END | {"response": "one two", "context": [1, 2]},
    lines(
        OLLAMA_HEAD | {"response": "one", "done": False},
        OLLAMA_HEAD | {"response": " two", "done": False},
        OLLAMA_HEAD | {"response": "", "context": [1, 2]} | OLLAMA_END,
    ),
    "application/x-ndjson",
    streams={},
    whole={"stream": False},
    error={"error": "an error was encountered while running the model"},
)
COHERE_USAGE = {"billed_units": {"input_tokens": 5, "output_tokens": 7}, "tokens": {"input_tokens": 9}}
COHERE_CALL = {"id": "weather_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
COHERE_CITATION = {"start": 0, "end": 3, "text": "Let", "sources": [{"type": "tool", "id": "weather_0"}]}


def cohere(step: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    at = {} if index is None else {"index": index}
    return {"type": step} | at | ({"delta": {"message": message}} if message else {})


COHERE_CHAT = Api(
    "/v2/chat",
    {"model": "command-a-03-2025", "messages": QUESTION},
    {
        "id": "c1",
        "finish_reason": "TOOL_CALL",
        "usage": COHERE_USAGE,
        "message": {
            "role": "assistant",
            "tool_plan": "I will look.",
            "content": [{"type": "text", "text": "Let me see."}],
            "tool_calls": [COHERE_CALL],
            "citations": [COHERE_CITATION],
        },
    },
    sse(
        {"type": "message-start", "id": "c1"}
        | {"delta": {"message": {"role": "assistant", "content": [], "tool_calls": [], "citations": []}}},
        cohere("tool-plan-delta", tool_plan="I will "),
        cohere("tool-plan-delta", tool_plan="look."),
        cohere("content-start", 0, content={"type": "text", "text": ""}),
        cohere("content-delta", 0, content={"text": "Let me "}),
        cohere("content-delta", 0, content={"text": "see."}),
        cohere("citation-start", 0, citations=COHERE_CITATION),
        cohere("citation-end", 0),
        cohere("content-end", 0),
        cohere("tool-call-start", 0, tool_calls=COHERE_CALL | {"function": {"name": "weather", "arguments": ""}}),
        cohere("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"city": '}}),
        cohere("tool-call-delta", 0, tool_calls={"function": {"arguments": '"Oslo"}'}}),
        cohere("tool-call-end", 0),
        {"type": "message-end", "id": "c1", "delta": {"finish_reason": "TOOL_CALL", "usage": COHERE_USAGE}},
        named=True,
    ),
)
COHERE_V1_ANSWER = {
    "response_id": "r",
    "generation_id": "g",
    "text": "Let me see.",
    "finish_reason": "COMPLETE",
    "meta": {"billed_units": {"input_tokens": 5, "output_tokens": 7}},
}
COHERE_V1 = Api(
    "/v1/chat",
    {"model": "command-r", "message": "What is the weather in Oslo?"},
    COHERE_V1_ANSWER,
    lines(
        {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
        {"is_finished": False, "event_type": "text-generation", "text": "Let me "},
        {"is_finished": False, "event_type": "text-generation", "text": "see."},
        {"is_finished": True, "event_type": "stream-end", "response": COHERE_V1_ANSWER, "finish_reason": "COMPLETE"},
    ),
    "application/stream+json",
)
FIM_HEAD = {"id": "f", "created": 1, "model": "codestral"}
FIM = Api(
    "/v1/fim/completions",
    {"model": "codestral", "prompt": "def f(", "suffix": "return a"},
    FIM_HEAD
    | {"object": "chat.completion", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    | {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a):\n"}, "finish_reason": "stop"}]},
    sse(
        FIM_HEAD
        | {"object": "chat.completion.chunk"}
        | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "a)"}, "finish_reason": None}]},
        FIM_HEAD
        | {"object": "chat.completion.chunk"}
        | {"choices": [{"index": 0, "delta": {"content": ":\n"}, "finish_reason": "stop"}]}
        | {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    )
    + b"data: [DONE]\n\n",
)

STREAMED = {
    "ollama chat": OLLAMA_CHAT,
    "ollama generate": OLLAMA_GENERATE,
    "cohere v2": COHERE_CHAT,
    "cohere v1": COHERE_V1,
    "mistral fim": FIM,
}

TEXTS = {"content": {"parts": [{"text": "a"}]}}
WHOLE = {
    "ollama embed": Api("/api/embed", {"model": "e", "input": "a"}, {"model": "e", "embeddings": [[0.5, -1]]}),
    "cohere embed": Api(
        "/v2/embed", {"model": "e", "texts": ["a"]}, {"id": "1", "embeddings": {"int8": [[1, -7]], "base64": ["AAA="]}}
    ),
    "cohere embed v1": Api("/v1/embed", {"model": "e", "texts": ["a"]}, {"id": "1", "embeddings": [[0.5]]}),
    "gemini embed": Api("/v1beta/models/e:embedContent", TEXTS, {"embedding": {"values": [0.5]}}),
    "gemini batch": Api(
        "/v1beta/models/e:batchEmbedContents", {"requests": [TEXTS]}, {"embeddings": [{"values": [0.5]}]}
    ),
    "anthropic tokens": Api("/v1/messages/count_tokens", {"model": "c", "messages": QUESTION}, {"input_tokens": 14}),
    "openai tokens": Api("/v1/responses/input_tokens", {"model": "g", "input": "a"}, {"input_tokens": 1}),
    "bedrock tokens": Api("/model/c/count-tokens", {"input": {"converse": {"messages": []}}}, {"inputTokens": 3}),
    "gemini tokens": Api("/v1beta/models/g:countTokens", {"contents": [TEXTS]}, {"totalTokens": 3}),
    "moderation": Api("/v1/moderations", {"input": "a"}, {"id": "m", "results": [{"flagged": False}]}),
    "cohere rerank": Api("/v2/rerank", {"query": "a", "documents": ["b"]}, {"results": [{"index": 0}]}),
    "voyage rerank": Api("/v1/rerank", {"query": "a", "documents": ["b"]}, {"data": [{"index": 0}]}),
    "image": Api("/v1/images/generations", {"prompt": "a cat"}, {"created": 1, "data": [{"b64_json": "AAA="}]}),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskStore]:
    """One for all tests: to make one takes most of a second."""
    opened = DiskStore(tmp_path_factory.mktemp("store"), 2**24)
    yield opened
    opened.close()


@pytest.fixture
def core(store: DiskStore) -> Cache:
    store.clear()
    return Cache(Settings.load({}), store, loopback=True)


def request(path: str, body: dict[str, Any]) -> Request:
    origin, below = upstream.split(BASE.origin, upstream.resolve(BASE, path), BASE)
    return Request(origin, below, (), {"content-type": "application/json"}, json.dumps(body).encode())


def judged(core: Cache, asked: Request, body: bytes, content_type: str, *, ended: bool = True) -> Entry | Skipped:
    plan = core.plan(asked)
    entry = core.judge(plan, Response(200, {"content-type": content_type}, body, 1.0, ended=ended), NOW)
    if isinstance(entry, Entry):
        core.keep(entry, NOW, record(core, plan))
    return entry


def served(core: Cache, asked: Request) -> bytes | None:
    plan = core.plan(asked)
    found = core.lookup(plan, NOW)
    pieces = replay(plan, found) if isinstance(found, Entry) else None
    return None if pieces is None else b"".join(pieces)


streamed = pytest.mark.parametrize("api", STREAMED.values(), ids=STREAMED.keys())
every = pytest.mark.parametrize("api", [*STREAMED.values(), *WHOLE.values()], ids=[*STREAMED, *WHOLE])


@streamed
def test_a_recorded_stream_serves_both_shapes(core: Cache, api: Api) -> None:
    asked = request(api.path, api.asked | api.streams)
    assert served(core, asked) is None
    assert isinstance(judged(core, asked, api.stream, api.stream_type), Entry)
    assert served(core, asked) == api.stream
    whole = served(core, request(api.path, api.asked | api.whole))
    assert whole is not None
    assert json.loads(whole) == api.answer


@streamed
def test_a_recorded_answer_serves_both_shapes(core: Cache, api: Api) -> None:
    asked = request(api.path, api.asked | api.whole)
    body = json.dumps(api.answer).encode()
    assert isinstance(judged(core, asked, body, "application/json"), Entry)
    assert served(core, asked) == body
    plan = core.plan(request(api.path, api.asked | api.streams))
    stream = served(core, request(api.path, api.asked | api.streams))
    assert stream is not None
    events = plan.format.split_stream(stream, plan.shape)
    plan.format.check_events(events)
    assert plan.format.assemble(events) == {k: v for k, v in api.answer.items() if k != "usage" or plan.with_usage}


@streamed
def test_no_part_of_a_stream_is_kept(core: Cache, api: Api) -> None:
    asked = request(api.path, api.asked | api.streams)
    separator = b"\n\n" if b"\n\n" in api.stream else b"\n"
    last = api.stream.removesuffix(b"data: [DONE]\n\n").rstrip().rfind(separator)
    between = [found.end() for found in re.finditer(separator, api.stream[: last + len(separator)])]
    for end in (*range(1, last, 41), *between):
        assert isinstance(judged(core, asked, api.stream[:end], api.stream_type, ended=False), Skipped), end


@streamed
def test_an_error_in_a_stream_is_never_kept(core: Cache, api: Api) -> None:
    asked = request(api.path, api.asked | api.streams)
    error = sse(api.error) if api.stream_type == "text/event-stream" else lines(api.error)
    first = api.stream.index(b"\n\n" if api.stream_type == "text/event-stream" else b"\n") + 1
    for body in (error, api.stream[:first] + b"\n" + error, api.stream + error):
        assert isinstance(judged(core, asked, body, api.stream_type), Skipped)


@every
def test_an_answer_is_served_as_it_is_and_an_error_is_never_kept(core: Cache, api: Api) -> None:
    asked = request(api.path, api.asked | api.whole)
    for bad in (api.error, api.answer | api.error, {}):
        assert isinstance(judged(core, asked, json.dumps(bad).encode(), "application/json"), Skipped)
    body = json.dumps(api.answer, indent=1).encode()
    assert isinstance(judged(core, asked, body, "application/json"), Entry)
    assert served(core, asked) == body
    assert served(core, request(api.path, api.asked | api.whole | {"temperature": 0.25})) is None


@every
def test_an_entry_is_shown_exported_and_read_back(core: Cache, api: Api, tmp_path: Path) -> None:
    asked = request(api.path, api.asked | api.whole)
    entry = judged(core, asked, json.dumps(api.answer).encode(), "application/json")
    format = core.plan(asked).format
    assert transcript.of_request(format, api.asked)
    assert transcript.of_answer(format, api.answer)
    file = tmp_path / "export.jsonl"
    assert jsonl.write(file, jsonl.lines(core.store, lambda _: True, NOW)) == 1
    (exported,) = jsonl.read(file, core)
    assert not isinstance(exported, Skipped | jsonl.Damaged), exported
    assert exported.entry == entry


@pytest.mark.parametrize(("parameters", "is_cached"), [({"sampleCount": 1}, True), ({"storageUri": "gs://b"}, False)])
def test_pictures_that_go_to_a_bucket_are_drawn_each_time(parameters: dict[str, Any], is_cached: bool) -> None:
    reason = formats.by_name("gemini_embeddings").bypass_reason({"instances": [], "parameters": parameters})
    assert (reason is None) is is_cached


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ollama_chat", {"message": {"role": "assistant", "content": ""}}),
        ("ollama_chat", {"message": {"role": "assistant", "content": "", "thinking": " ", "tool_calls": []}}),
        ("ollama_generate", {"response": "\n"}),
    ],
)
def test_an_answer_of_ollamas_that_says_nothing_is_silent(name: str, said: dict[str, Any]) -> None:
    answer = OLLAMA_HEAD | said | OLLAMA_END
    assert formats.by_name(name).check_answer(answer).is_silent
    assert formats.by_name(name).check_events([Event("", json.dumps(answer).encode())]).is_silent


@pytest.mark.parametrize("word", [True, "true", "True", "1", "yes", "on", "false", "0", "", None])
def test_a_form_asks_for_a_stream_in_the_words_that_servers_take_for_yes(word: object) -> None:
    wanted = formats.by_name("transcriptions").wanted_shape({"stream": word}, "/audio/transcriptions", ())
    assert wanted is (Shape.JSON if word in ("false", "0", "", None) else Shape.SSE)


@pytest.mark.parametrize("api", [OLLAMA_CHAT, OLLAMA_GENERATE, WHOLE["ollama embed"]], ids=lambda api: api.path)
def test_how_long_ollama_keeps_a_model_loaded_is_not_part_of_the_key(core: Cache, api: Api) -> None:
    keys = {core.plan(request(api.path, api.asked | more)).key for more in ({}, {"keep_alive": "5m"})}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("path", "base", "below"),
    [
        ("/api/chat", "https://api.example", "/api/chat"),
        ("/api/chat/completions", "https://api.example/v1", "/chat/completions"),
        ("/api/embeddings", "https://api.example/v1", "/embeddings"),
        ("/v1/chat", "https://api.example", "/v1/chat"),
        ("/v2/rerank", "https://api.example/v2", "/rerank"),
    ],
)
def test_routes_at_the_origin_do_not_go_below_the_base_path(path: str, base: str, below: str) -> None:
    asked = request(path, {})
    assert (asked.upstream, asked.path) == (base, below)


def test_ollamas_older_embeddings_are_found_at_an_origin() -> None:
    ollama = BaseUrl.parse("http://127.0.0.1:11434")
    origin, below = upstream.split(ollama.origin, upstream.resolve(ollama, "/api/embeddings"), ollama)
    found = formats.match(below)
    assert (origin, found and found[0].name) == ("http://127.0.0.1:11434", "ollama_embeddings")
    assert formats.by_name("ollama_embeddings").check_answer({"embedding": [0.5]}) == Findings()
    with pytest.raises(FormatError):
        formats.by_name("ollama_embeddings").check_answer({"error": "no such model"})


def test_both_of_geminis_embedding_methods_have_keys_of_their_own(core: Cache) -> None:
    plans = [core.plan(request(f"/v1beta/models/e:{method}", {})) for method in ("embedContent", "batchEmbedContents")]
    assert plans[0].key != plans[1].key
    assert {plan.model for plan in plans} == {"e"}


def test_what_a_message_says_is_shown() -> None:
    for api, said in ((OLLAMA_CHAT, "Let me see."), (OLLAMA_GENERATE, "one two"), (COHERE_CHAT, "Let me see.")):
        format = upstream.formats.match(request(api.path, {}).path)
        assert format
        assert said in transcript.of_answer(format[0], load_object(json.dumps(api.answer).encode()))


@pytest.mark.parametrize("index", ["first", {"a": 1}, [0], 1.5])
def test_a_part_of_coheres_that_has_no_place_is_refused(index: Any) -> None:
    event = Event("", json.dumps(cohere("content-start", index, content={"type": "text"})).encode())
    with pytest.raises(FormatError):
        formats.by_name("cohere_chat").assemble([event])


@pytest.mark.parametrize("parts", [1, True, "text", {"a": 1}])
@pytest.mark.parametrize("member", ["content", "tool_calls", "citations"])
def test_parts_of_coheres_that_are_no_list_cannot_be_streamed(member: str, parts: Any) -> None:
    with pytest.raises(FormatError):
        formats.by_name("cohere_chat").explode({"message": {member: parts}}, with_usage=True)
