"""What every recording is judged by, wherever it was read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.cache.batches import join_known, open_batch
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.replay import replay
from computer_use_cache.models import Entry, Request, Response, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import recordings
from computer_use_cache.transfer.recordings import Damaged, Recording, Summary
from support import chat_events, chat_request, completion

NOW = 1_700_000_000.0
UPSTREAM = "http://127.0.0.1:9/v1"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    store = DiskStore(tmp_path / "cache", 2**30)
    yield recordings.importing_cache(Settings.load({}), store, loopback=True)
    store.close()


def recording(
    body: Any, answer: bytes, path: str = "/chat/completions", at: float = NOW - 10, **headers: str
) -> Recording:
    asked = Request(UPSTREAM, path, (), {}, json.dumps(body).encode())
    return Recording(asked, Response(200, {"content-type": "application/json"} | headers, answer, 1.0), at)


def plan_of(cache: Cache, body: Any, path: str = "/chat/completions") -> Plan:
    return cache.plan(Request(UPSTREAM, path, (), {}, json.dumps(body).encode()))


STREAM = b"".join(chat_events("po", "ng"))
EVENTS = {"content-type": "text/event-stream"}


def test_a_recorded_stream_answers_in_both_shapes(cache: Cache) -> None:
    recordings.keep(cache, recording(chat_request(stream=True), STREAM, **EVENTS), NOW)
    for stream in (True, False):
        plan = plan_of(cache, chat_request(stream=stream))
        entry = cache.lookup(plan, NOW)
        assert isinstance(entry, Entry)
        pieces = replay(plan, entry)
        assert pieces
        assert pieces == [STREAM] if stream else b'"content":"pong"' in pieces[0]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (recording(chat_request(stream=True), STREAM[:-14], **EVENTS), "end"),
        (recording(chat_request(), b"{}"), "choices"),
        (recording(chat_request(), json.dumps(completion("a")).encode(), **{"content-length": "3"}), "length"),
        (recording({"model": "m"}, b"{}"), "choices"),
        (recording(chat_request(conversation="c") | {"cache": False}, b"{}"), "disabled"),
        (recording(chat_request(), json.dumps(completion("a")).encode(), at=NOW - 2592001), "expired"),
        (recording(chat_request(), json.dumps(completion("a")).encode(), at=NOW + 90000), "in the future"),
    ],
)
def test_what_live_traffic_would_not_be_stored_for_is_skipped(what: Recording, reason: str, cache: Cache) -> None:
    outcome = recordings.keep(cache, what, NOW)
    assert isinstance(outcome, Skipped)
    assert reason in outcome.detail
    assert cache.store.size().entries == 0


def embeddings(*numbers: float) -> bytes:
    data = [{"object": "embedding", "index": index, "embedding": [value]} for index, value in enumerate(numbers)]
    return json.dumps({"object": "list", "data": data, "model": "e", "usage": {"prompt_tokens": 4}}).encode()


def test_the_inputs_of_a_recorded_batch_are_known_alone_and_in_other_batches(cache: Cache) -> None:
    body = {"model": "e", "input": ["a", "b", "a"]}
    outcome = recordings.keep(cache, recording(body, embeddings(1.0, 2.0, 1.0), "/embeddings"), NOW)
    assert not isinstance(outcome, Skipped)
    assert isinstance(cache.lookup(plan_of(cache, {"model": "e", "input": "b"}, "/embeddings"), NOW), Entry)
    plan = plan_of(cache, {"model": "e", "input": ["b", "a"]}, "/embeddings")
    batch = open_batch(cache, plan, NOW)
    assert batch
    assert batch.unseen is None
    answers = json.loads(join_known(batch).body)["data"]
    assert [item["embedding"] for item in answers] == [[2.0], [1.0]]


def test_an_answer_to_another_batch_is_skipped(cache: Cache) -> None:
    body = {"model": "e", "input": ["a"]}
    assert not isinstance(recordings.keep(cache, recording(body, embeddings(1.0), "/embeddings"), NOW), Skipped)
    body = {"model": "e", "input": ["a", "b"]}
    assert isinstance(recordings.keep(cache, recording(body, embeddings(1.0), "/embeddings"), NOW), Skipped)
    assert cache.store.size().entries == 1


def test_what_became_of_each_is_counted(cache: Cache) -> None:
    whole = recording(chat_request(), json.dumps(completion("a")).encode())
    damaged = Damaged("file: flow 2", "cut")
    outcome = recordings.keep_all(cache, iter([whole, Skipped("no"), damaged, Skipped("no"), whole]), NOW)
    assert outcome == Summary(1, {"no": 2, "stored already": 1}, (damaged,))
