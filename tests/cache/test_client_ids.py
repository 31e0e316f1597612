"""The ids of accounts, sessions and installations go upstream, and are neither in a key nor in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.cache.batches import open_batch
from computer_use_cache.cache.cache import Cache
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.models import Request
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

UPSTREAM = "https://provider.example"
RESPONSES = {"model": "m", "input": [{"role": "user", "content": "ping"}], "store": False}
MESSAGES = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "ping"}]}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "ping"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "ping"}]}]}
PLACES = [
    ("/responses", lambda own: RESPONSES | {"client_metadata": {"x-codex-installation-id": own}}),
    ("/responses", lambda own: RESPONSES | {"prompt_cache_key": own, "safety_identifier": own, "user": own}),
    (
        "/responses",
        lambda own: {
            "model": "m",
            "input": [
                {
                    "role": "user",
                    "content": "ping",
                    "internal_chat_message_metadata_passthrough": {"turn_id": own},
                }
            ],
        },
    ),
    ("/messages", lambda own: MESSAGES | {"metadata": {"user_id": own}}),
    ("/chat/completions", lambda own: CHAT | {"user": own, "metadata": {"user_id": own, "task": "ping"}}),
    ("/messages/count_tokens", lambda own: MESSAGES | {"metadata": {"user_id": own}}),
    ("/responses/input_tokens", lambda own: RESPONSES | {"client_metadata": {"x-codex-installation-id": own}}),
    ("/embeddings", lambda own: {"model": "m", "input": "ping", "user": own}),
    ("/images/generations", lambda own: {"model": "m", "prompt": "ping", "user": own}),
    ("/moderations", lambda own: {"model": "m", "input": "ping", "safety_identifier": own}),
    ("/v1internal:generateContent", lambda own: {"model": "m", "project": own, "request": GEMINI}),
    ("/v1internal:generateContent", lambda own: {"model": "m", "user_prompt_id": own, "request": GEMINI}),
    ("/v1internal:generateContent", lambda own: {"model": "m", "request": GEMINI | {"session_id": own}}),
]


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Cache]:
    store = DiskStore(tmp_path / "store", 2**24)
    yield Cache(Settings.load({}), store, loopback=True)
    store.close()


def asked(path: str, body: Any) -> Request:
    return Request(UPSTREAM, path, (), {"chatgpt-account-id": "account"}, json.dumps(body).encode())


@pytest.mark.parametrize(("path", "make"), PLACES)
def test_an_id_goes_upstream_and_is_neither_counted_nor_kept(core: Cache, path: str, make: Any) -> None:
    one, other = (core.plan(asked(path, make(own))) for own in ("id-of-one", "id-of-other"))
    assert one.key == other.key
    assert b"id-of-one" in one.forward
    kept = record(core, one)
    assert b"id-of-one" not in kept.body
    assert b"ping" in kept.body


def test_a_batch_forwards_it_too(core: Cache) -> None:
    plan = core.plan(asked("/embeddings", {"model": "m", "input": ["one", "two"], "user": "id-of-one"}))
    batch = open_batch(core, plan, 0.0)
    assert batch
    assert batch.unseen == {"model": "m", "input": ["one", "two"], "user": "id-of-one"}


@pytest.mark.parametrize(
    "tool",
    [{"type": "function", "name": "f", "parameters": {"properties": {"client_metadata": {"type": "string"}}}}],
)
def test_the_same_name_elsewhere_is_part_of_the_question(core: Cache, tool: Any) -> None:
    plain, with_tool = (core.plan(asked("/responses", RESPONSES | extra)) for extra in ({}, {"tools": [tool]}))
    assert plain.key != with_tool.key
    assert b"client_metadata" in record(core, with_tool).body
