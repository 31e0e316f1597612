"""An export is the same bytes for the same entries, is read back without loss, and trusts no line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.replay import replay
from computer_use_cache.models import Entry, Request, Response, Shape, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Choice
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import jsonl, recordings
from computer_use_cache.transfer.recordings import Damaged, Exported, Kind, Recording
from made import put
from support import chat_events, chat_request, completion

NOW = 1_700_000_000.0
UPSTREAM = "http://127.0.0.1:9/v1"
ALL = Choice()
JSON = {"content-type": "application/json", "x-request-id": "req_1", "set-cookie": "a=b"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
STREAM = b"\xef\xbb\xbf" + b"".join(chat_events("p\u00f6", "\u2028ng")).replace(b"\n\n", b"\r\n\r\n")
SECRET = "ghp_" + "a1B2" * 9


def recording(body: Any, answer: bytes, headers: dict[str, str], at: float = NOW - 10, **control: str) -> Recording:
    asked = {"authorization": "Bearer key-of-somebody", "openai-beta": "x"} | control
    sent = json.dumps(body).replace('"@long number"', "0.12345678901234567890123").encode()
    request = Request(UPSTREAM, "/chat/completions", (("key", "secret"), ("a", "b")), asked, sent)
    return Recording(request, Response(200, headers, answer, 1.25, ((len(answer), 7),)), at)


RECORDINGS = [
    recording(
        chat_request("json", temperature=0.2, seed=10**30),
        json.dumps(completion("p\u00f6ng"), ensure_ascii=False).encode(),
        JSON,
    ),
    recording(chat_request("sse", stream=True), STREAM, EVENTS, NOW - 20.123456),
    recording(chat_request("\ud800 lone", n=1.5e300), json.dumps(completion("\ud800")).encode(), JSON),
    recording(chat_request("picture" + "A" * 5000), json.dumps(completion("x")).encode(), JSON),
    recording(chat_request("A" * 5000), json.dumps(completion("x")).encode(), JSON),
    recording(chat_request("number", top_p="@long number"), json.dumps(completion("x")).encode(), JSON),
    recording(chat_request("apart"), json.dumps(completion("y")).encode(), JSON, **{"x-cache-namespace": "run 1"}),
    recording(chat_request("for ever"), json.dumps(completion("z")).encode(), JSON, **{"x-cache-ttl": "0"}),
]


def cache_in(folder: Path, **environment: str) -> Cache:
    return recordings.importing_cache(Settings.load(environment), DiskStore(folder, 2**30), loopback=True)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Cache]:
    cache = cache_in(tmp_path / "full")
    assert recordings.keep_all(cache, RECORDINGS, NOW).skipped == {}
    yield cache
    cache.store.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Cache]:
    cache = cache_in(tmp_path / "empty")
    yield cache
    cache.store.close()


def written(cache: Cache, path: Path, chosen: Choice = ALL) -> Path:
    jsonl.write(path, jsonl.lines(cache.store, chosen, NOW))
    return path


def test_what_is_read_back_is_the_same_and_exports_the_same_bytes(full: Cache, empty: Cache, tmp_path: Path) -> None:
    first = written(full, tmp_path / "first")
    summary = recordings.keep_all(empty, jsonl.read(first, empty), NOW)
    assert summary == recordings.Summary(len(RECORDINGS), {})
    assert sorted(empty.store.entries(), key=lambda entry: entry.key) == sorted(
        full.store.entries(), key=lambda entry: entry.key
    )
    assert written(empty, tmp_path / "second").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("stream", [True, False])
def test_every_request_is_the_same_hit_as_before(stream: bool, full: Cache, empty: Cache, tmp_path: Path) -> None:
    recordings.keep_all(empty, jsonl.read(written(full, tmp_path / "x"), empty), NOW)
    for each in RECORDINGS:
        plain = each.request.body.replace(b', "stream": true', b"")
        body = plain[:-1] + (b', "stream": true}' if stream else b"}")
        answers = []
        for cache in (full, empty):
            plan = cache.plan(replace(each.request, body=body))
            entry = cache.lookup(plan, NOW)
            assert isinstance(entry, Entry)
            answers.append(replay(plan, entry))
        assert answers[0] == answers[1] is not None


def test_a_template_is_exported_only_where_there_is_one(full: Cache, empty: Cache, tmp_path: Path) -> None:
    for entry in list(full.store.entries()):
        put(full.store, replace(entry, template="", bindings=b""), None)
    assert b"template" not in written(full, tmp_path / "old").read_bytes()
    bound = replace(next(full.store.entries()), template="0a" * 16, bindings=bytes(range(256)))
    put(full.store, bound, None)
    summary = recordings.keep_all(empty, jsonl.read(written(full, tmp_path / "new"), empty), NOW)
    assert summary.skipped == {}
    assert empty.store.get(bound.key) == bound
    assert empty.store.with_template(bound.template) == [bound.key]
    assert [found.key for found in empty.store.entries() if not found.template]


def test_what_is_asked_of_an_imported_request_is_what_was_asked(full: Cache, empty: Cache, tmp_path: Path) -> None:
    recordings.keep_all(empty, jsonl.read(written(full, tmp_path / "x"), empty), NOW)
    for each in RECORDINGS:
        plan = full.plan(each.request)
        before, after = full.store.request(plan.key), empty.store.request(plan.key)
        assert before
        assert after
        assert (after.upstream, after.path, after.query, after.headers) == (UPSTREAM, *_outside(before))
        assert after.parts == before.parts, "what is near stays near"


def _outside(record: Any) -> tuple[Any, ...]:
    return record.path, record.query, record.headers


def test_it_is_plain_sorted_and_holds_no_credential(full: Cache, tmp_path: Path) -> None:
    text = written(full, tmp_path / "x").read_text(encoding="utf-8")
    heading, *rest = [json.loads(line) for line in text.split("\n")[:-1]]
    assert heading == {"computer_use_cache_export": 1}
    assert [line["key"] for line in rest] == sorted(line["key"] for line in rest)
    assert "pöng" in text, "readable, not escaped"
    for secret in ("key-of-somebody", "secret", "set-cookie", "authorization"):
        assert secret not in text
    (line,) = [each for each in rest if each["namespace"] == "run 1"]
    assert line["request"] == {
        "upstream": UPSTREAM,
        "path": "/chat/completions",
        "query": "a=b",
        "headers": {"openai-beta": "x"},
        "body": chat_request("apart"),
    }
    assert line["headers"] == {"content-type": "application/json", "x-request-id": "req_1"}


def test_a_body_that_is_no_text_is_base64(full: Cache, empty: Cache, tmp_path: Path) -> None:
    entry = next(entry for entry in full.store.entries() if entry.shape is Shape.SSE)
    odd = replace(entry, key="0" * 64, body=b": \xff\n\n" + STREAM.removeprefix(b"\xef\xbb\xbf"), chunks=())
    full.keep(odd, NOW)
    path = written(full, tmp_path / "x")
    assert b'"body_base64"' in path.read_bytes()
    recordings.keep_all(empty, jsonl.read(path, empty), NOW)
    assert empty.store.get(odd.key) == odd


@pytest.mark.parametrize(
    ("chosen", "count"),
    [(ALL, 8), (Choice(namespace="run 1"), 1), (Choice(model="gpt-test"), 8), (Choice(model="other"), 0)],
)
def test_only_the_chosen_are_exported(chosen: Choice, count: int, full: Cache, tmp_path: Path) -> None:
    assert jsonl.write(tmp_path / "x", jsonl.lines(full.store, chosen, NOW)) == count


def test_an_expired_entry_is_not_exported(full: Cache) -> None:
    assert len(list(jsonl.lines(full.store, ALL, NOW + 10**9))) == 2, "only the one that never expires"


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"before")

    def content() -> Iterator[bytes]:
        yield b"heading"
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        jsonl.write(path, content())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


# -- a stranger's file


def line_of(cache: Cache) -> dict[str, Any]:
    lines = (json.loads(line) for line in list(jsonl.lines(cache.store, ALL, NOW))[1:])
    return next(line for line in lines if line["namespace"] == "run 1")


def outcome(cache: Cache, path: Path, line: object) -> Exported | Skipped | Damaged:
    text = line if isinstance(line, str) else json.dumps(line)
    path.write_text('{"computer_use_cache_export": 1}\n' + text + "\n")
    (found,) = jsonl.read(path, cache)
    return found


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"key": None}, "key"),
    "short key": ({"key": "ab"}, "key"),
    "key in capitals": ({"key": "A" * 64}, "key"),
    "key that leads elsewhere": ({"key": "../" + "a" * 61}, "key"),
    "key with a line end": ({"key": "a" * 64 + "\n"}, "key"),
    "unknown format": ({"format": "smoke"}, "format"),
    "format of no name": ({"format": ["chat"]}, "format"),
    "unknown shape": ({"shape": "tape"}, "shape"),
    "other shape": ({"shape": "sse"}, "shape"),
    "model of no name": ({"model": 1}, "model"),
    "namespace that no header holds": ({"namespace": "a\r\nb"}, "namespace"),
    "header that is not kept": ({"headers": {"content-type": "application/json", "set-cookie": "a"}}, "set-cookie"),
    "header with a line end": ({"headers": {"content-type": "application/json\r\nset-cookie: a"}}, "content-type"),
    "header that is no text": ({"headers": {"content-type": 1}}, "content-type"),
    "headers as a list": ({"headers": []}, "headers"),
    "body that is no text": ({"body": {}}, "body"),
    "lone surrogate": ({"body": "\ud800"}, "neither text nor base64"),
    "no base64": ({"body_base64": "?"}, "is not base64"),
    "time of no number": ({"created_at": "noon"}, "created_at"),
    "time before 1970": ({"created_at": -1}, "created_at"),
    "time of 401 digits": ({"created_at": 10**400}, "created_at"),
    "expiry of 401 digits": ({"expires_at": 10**400}, "expires_at"),
    "expiry that no server keeps": ({"expires_at": 2**54}, "expires_at"),
    "endless time": ({"created_at": float("inf")}, "not JSON"),
    "expiry of no number": ({"expires_at": float("nan")}, "not JSON"),
    "usage of no truth": ({"with_usage": 1}, "with_usage"),
    "chunks of another body": ({"chunks": [[1, 1]]}, "chunks"),
    "chunks of less than nothing": ({"chunks": [[-1, 1]]}, "chunks"),
    "chunks of no numbers": ({"chunks": [["a", 1]]}, "chunks"),
    "chunks of no pairs": ({"chunks": [1]}, "chunks"),
    "request of no kind": ({"request": 1}, "request"),
    "request without parts": ({"request": {}}, "body"),
}


@pytest.mark.parametrize(("change", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_line_that_this_cache_would_not_write_is_named(
    change: dict[str, Any], reason: str, full: Cache, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    found = outcome(full, path, line_of(full) | change)
    assert isinstance(found, Damaged)
    assert found.where == f"{path}: line 2"
    assert reason in found.why


@pytest.mark.parametrize("text", ["{", "[]", "1", "", "{} {}", '{"a": ' * 100000, '{"computer_use_cache_export": 2}'])
def test_a_line_that_is_no_entry_is_named(text: str, full: Cache, tmp_path: Path) -> None:
    assert isinstance(outcome(full, tmp_path / "x", text), Damaged)


@pytest.mark.parametrize(
    ("change", "request_change", "reason"),
    [
        ({"body": "{}"}, {}, "choices"),
        ({"body": json.dumps(completion("a") | {"error": {"message": "no"}})}, {}, "error"),
        ({"body": json.dumps(completion("a" * 2000))}, {}, "larger than CACHE_MAX_RESPONSE_CHARS"),
        ({"model": "denied"}, {}, "model"),
        ({}, {"body": chat_request("a" * 3000)}, "larger than CACHE_MAX_INPUT_CHARS"),
        ({}, {"body": chat_request(SECRET)}, "credential"),
    ],
)
def test_what_live_traffic_would_not_be_stored_for_is_skipped(
    change: dict[str, Any], request_change: dict[str, Any], reason: str, full: Cache, tmp_path: Path
) -> None:
    environment = {
        "CACHE_MODEL_DENYLIST": "denied",
        "CACHE_MAX_RESPONSE_CHARS": "2000",
        "CACHE_MAX_INPUT_CHARS": "2000",
    }
    cache = replace_settings(full, environment)
    line = line_of(full) | change | {"chunks": []}
    line["request"] |= request_change
    found = outcome(cache, tmp_path / "x", line)
    assert isinstance(found, Skipped)
    assert reason in found.detail


def replace_settings(cache: Cache, environment: dict[str, str]) -> Cache:
    return recordings.importing_cache(Settings.load(environment), cache.store, loopback=True)


def test_an_endless_line_is_not_read(full: Cache, tmp_path: Path) -> None:
    cache = replace_settings(full, {"CACHE_MAX_RESPONSE_CHARS": "10", "CACHE_MAX_INPUT_CHARS": "10"})
    found = outcome(cache, tmp_path / "x", "x" * 1000)
    assert isinstance(found, Damaged)
    assert "too long" in found.why


def test_times_decide_what_is_taken(full: Cache, empty: Cache, tmp_path: Path) -> None:
    def kept(**change: Any) -> Entry | Skipped:
        found = outcome(empty, tmp_path / "x", line_of(full) | change)
        assert isinstance(found, Exported)
        importer = recordings.Importer(empty, NOW)
        kept = importer.keep_exported(found)
        importer.flush()
        return kept

    assert kept(expires_at=NOW - 1) == Skipped("expired")
    assert kept(created_at=NOW + 10**6) == Skipped("recorded in the future")
    assert isinstance(kept(), Entry)
    assert kept() == Skipped("stored already")
    assert isinstance(kept(created_at=NOW), Entry)


def test_an_export_is_known_by_its_heading(full: Cache, tmp_path: Path) -> None:
    assert recordings.kind_of(written(full, tmp_path / "x.har")) is Kind.EXPORT
