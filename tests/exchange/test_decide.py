"""Decisions that would hold up the event loop are made in a thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decide import Decider
from computer_use_cache.exchange.decisions import Forward, Postpone, Serve
from computer_use_cache.flights.flight import Flights
from computer_use_cache.keys import key
from computer_use_cache.models import Absent, Entry, Request, Shape
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from pictures import coded

NOW = 2_000_000_000.0
DATED = coded(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(17) + b"\0\0\0\3tEXta\0b" + bytes(4) + b"\0\0\0\0IEND" + bytes(4)
)
"""A picture with a text in it, which its key leaves out."""


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    store = DiskStore(tmp_path / "store", 2**24)
    yield Cache(Settings.load({}), store, loopback=True)
    store.close()


def planned(cache: Cache, text: str, picture: str) -> Plan:
    content: list[Any] = [{"type": "text", "text": text}]
    content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}})
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
    return cache.plan(Request("https://api.example/v1", "/chat/completions", (), {}, body))


def keep(cache: Cache, plan: Plan) -> None:
    """Store it as an earlier version did, under a key with all bytes of the pictures."""
    earlier = key.finish(plan.route.key_beginning, plan.format.key_body(plan.body))
    cache.keep(replace(ENTRY, key=earlier), NOW)


ENTRY = Entry("", "chat_completions", Shape.JSON, "m", "", (), b'{"choices": []}', NOW, None, 1.0)


@pytest.mark.parametrize(
    ("text", "picture", "at_once"),
    [
        pytest.param("hello", DATED, Postpone, id="hashing it again is left to a thread"),
        pytest.param("hello", coded(b"GIF8"), Serve, id="a request without metadata has one key"),
    ],
)
def test_a_second_key_is_looked_up_where_it_holds_nobody_up(
    cache: Cache, text: str, picture: str, at_once: type
) -> None:
    plan = planned(cache, text, picture)
    keep(cache, plan)
    decider = Decider(cache, Flights())
    assert isinstance(decider.decide_at_once(plan, NOW), at_once)
    assert isinstance(decider.decide(plan, NOW).decision, Serve)


def test_a_request_that_is_not_stored_goes_upstream(cache: Cache) -> None:
    assert isinstance(Decider(cache, Flights()).decide(planned(cache, "hello", DATED), NOW).decision, Forward)


def test_a_miss_is_not_looked_up_twice(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    decider, plan, keys = Decider(cache, Flights()), planned(cache, "hello", coded(b"GIF8")), list[str]()
    absent = decider.decide_at_once(plan, NOW)
    assert isinstance(absent, Absent)
    monkeypatch.setattr(cache.store, "get", keys.append)
    monkeypatch.setattr(cache.store, "get_quickly", keys.append)
    assert isinstance(decider.prepare_at_once(plan, NOW, absent)[1], Forward)
    assert plan.key not in keys
