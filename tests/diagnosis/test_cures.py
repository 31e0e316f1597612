"""A near miss is told the settings that would have made it a hit, and none that could serve a wrong answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import causes, near_miss
from computer_use_cache.diagnosis.cures import CHANGED, Cure
from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.store.disk import DiskStore

NOW = 2_000_000_000.0
SYSTEM = "You are an agent that books trains. Ask before you pay. Never guess a date, and always name the platform."
DIGIT = r"[\w.:-]*\d[\w:-]*([^\w \t]|[ \t]+[^\pL\s]|[ \t]*$)/\1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = DiskStore(tmp_path / "store", 2**30)
    yield store
    store.close()


def chat(text: str = "Go on.", **members: Any) -> dict[str, Any]:
    spoken = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return {"model": "m", "messages": spoken, "temperature": 0} | members


def cure(
    store: Store,
    recorded: dict[str, Any],
    asked: dict[str, Any],
    answer: str = "Very well.",
    path: str = "/chat/completions",
    bind: tuple[str, str] = ("", ""),
    **settings: str,
) -> Cure:
    """The cure for `asked`, where `recorded` is stored with this answer; it must make a hit once both are known."""
    given = [Settings.load(settings | {"CACHE_BIND": text}) for text in bind]
    first, second = (Cache(each, store, loopback=True) for each in given)
    keep(first, recorded, answer, path)
    plan = rebound.prepare(second, second.plan(request(asked, path)))
    near = near_miss.study(second, plan).near
    assert near is not None
    return near.cure


def request(sent: dict[str, Any], path: str = "/chat/completions") -> Request:
    return Request("https://a.test/v1", path, (), {}, json.dumps(sent).encode())


def keep(cache: Cache, sent: dict[str, Any], answer: str, path: str = "/chat/completions") -> None:
    plan = rebound.with_template(cache, rebound.prepare(cache, cache.plan(request(sent, path))))
    entry = cache.judge(plan, Response(200, {"content-type": "application/json"}, said(answer), 1.0), NOW)
    assert isinstance(entry, Entry), entry
    cache.keep(entry, NOW, record(cache, plan))


def said(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()


def items(**first: Any) -> list[dict[str, Any]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Go on."} | first]


@pytest.mark.parametrize(
    ("recorded", "asked", "expected"),
    [
        ({"run_metadata": {"run_id": "r-1"}}, {"run_metadata": {"run_id": "r-2"}}, ("/run_metadata/run_id",)),
        ({"run_metadata": {"a": {"b": 1}}}, {"run_metadata": {"a": {"b": 2}}}, ("/run_metadata/a/b",)),
        ({"run_metadata": {"tags": ["x7"]}}, {"run_metadata": {"tags": ["y8"]}}, ("/run_metadata/tags/*",)),
        ({"client_metadata": {"x": "1"}}, {}, ("/client_metadata",)),
        ({"session_id": "s17"}, {"session_id": "s18"}, ("/session_id",)),
        ({"requestId": "s17"}, {"requestId": "s18"}, ("/requestId",)),
        ({"trace": {"span": "s17"}}, {"trace": {"span": "s18"}}, ("/trace/span",)),
        ({"sent_at": 1795721155}, {"sent_at": 1795721999}, ("/sent_at",)),
        ({"a/b": 1, "turn_id": "q1"}, {"a/b": 1, "turn_id": "q2"}, ("/turn_id",)),
        ({"messages": items(timestamp=17)}, {"messages": items(timestamp=18)}, ("/messages/*/timestamp",)),
        ({"messages": items(id="m17")}, {"messages": items(id="m18")}, ("/messages/*/id",)),
        ({"session_id": "s1", "nonce": "n1"}, {"session_id": "s2", "nonce": "n2"}, ("/nonce", "/session_id")),
    ],
)
def test_a_field_that_names_the_run_is_left_out(
    store: Store, recorded: dict[str, Any], asked: dict[str, Any], expected: tuple[str, ...]
) -> None:
    found = cure(store, chat(**recorded), chat(**asked))
    assert (set(found.fields), found.normalizers, found.rebind) == (set(expected), (), False)
    assert is_one_key(chat(**recorded), chat(**asked), found)


def is_one_key(one: dict[str, Any], other: dict[str, Any], found: Cure) -> bool:
    """Whether the cure, given as settings, makes the keys of two requests equal, and of no others."""
    settings = Settings.load(found.settings)
    cache = Cache(settings, None, loopback=True)  # type: ignore[arg-type]  # plans do not touch the store
    keys = {cache.plan(request(body)).key for body in (one, other)}
    return len(keys) == 1 and cache.plan(request(chat("Something else?"))).key not in keys


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        ({"temperature": 0}, {"temperature": 1}),
        ({"seed": 1}, {"seed": 2}),
        ({"max_tokens": 100}, {"max_tokens": 200}),
        ({"run_time": 3}, {"run_time": 4}),
        ({"top_k": 3}, {}),
        ({"messages": items(name="anna")}, {"messages": items(name="otto")}),
        ({"messages": items(content="What is 2 + 2?")}, {"messages": items(content="What is 2 + 3?")}),
        ({"tools": [{"metadata": {"v": 1}}]}, {"tools": [{"metadata": {"v": 2}}]}),
        ({"response_format": {"id": "a1"}}, {"response_format": {"id": "a2"}}),
        ({"file_id": "file-1"}, {"file_id": "file-2"}),
        ({"session_id": "s1", "seed": 1}, {"session_id": "s2", "seed": 2}),
    ],
)
def test_what_the_model_is_given_is_never_left_out(
    store: Store, recorded: dict[str, Any], asked: dict[str, Any]
) -> None:
    found = cure(store, chat(**recorded), chat(**asked))
    assert (found, found.reason) == (Cure(), CHANGED)


def test_a_field_that_the_answer_repeats_is_not_left_out(store: Store) -> None:
    found = cure(store, chat(session_id="sess-41"), chat(session_id="sess-42"), "Your session is sess-41.")
    assert not found
    assert "repeats" in found.reason


@pytest.mark.parametrize(
    ("recorded", "asked", "rules"),
    [
        ("Build: 8811.", "Build: 8812.", (rf"s/(Build: ){DIGIT}<build>\2/",)),
        ("build #8811 is up", "build #8812 is up", ()),
        ("(build=a17)", "(build=b23)", (rf"s/(build=){DIGIT}<build>\2/",)),
        ("Session ID: z-17", "Session ID: lion-9", (rf"s/(Session ID: ){DIGIT}<session id>\2/",)),
        ("run number 17, go", "run number 18, go", (rf"s/(run number ){DIGIT}<run number>\2/",)),
        ("job: 17/9, go", "job: 18/9, go", (rf"s/(job: ){DIGIT}<job>\2/",)),
        ('{"worker": "w17"}', '{"worker": "w18"}', (rf's/(worker": "){DIGIT}<worker>\2/',)),
        ("job: 1\nworker: 2", "job: 3\nworker: 4", (rf"s/(job: ){DIGIT}<job>\2/", rf"s/(worker: ){DIGIT}<worker>\2/")),
        ("job: 1; run: 2", "job: 30; run: 40", (rf"s/(job: ){DIGIT}<job>\2/", rf"s/(run: ){DIGIT}<run>\2/")),
        ("job: 17 ☃", "job: 18 ☃", (rf"s/(job: ){DIGIT}<job>\2/",)),
        ("What is 2 + 2?", "What is 2 + 3?", ()),
        ("The price is 12.50.", "The price is 13.50.", ()),
        ("price: 1200", "price: 1300", ()),
        ("commit: 3f2a91c", "commit: 9b2a91c", ()),
        ("count: 3", "count: 4", ()),
        ("Build: passed", "Build: failed", ()),
        ("Build: 3 errors", "Build: 4 errors", ()),
        ("Run 3 tests.", "Run 4 tests.", ()),
        ("run: 3 tests", "run: 4 tests", ()),
        ("job: 17, count: 3", "job: 18, count: 4", ()),
        ("Decode aGVsbG8gd29ybGQ", "Decode aGVsbG8gdGhlcmU", ()),
        ("Open ticket 17.", "Open ticket 18.", ()),
        ("job: \ud800 17", "job: \ud800 18", ()),
    ],
)  # fmt: skip
def test_a_rule_is_made_for_a_labelled_number_of_the_run_only(
    store: Store, recorded: str, asked: str, rules: tuple[str, ...]
) -> None:
    one, other = (chat(f"You are here to help. {text}\nThen say what comes next.") for text in (recorded, asked))
    found = cure(store, one, other)
    assert (found.fields, found.normalizers, found.rebind) == ((), rules, False)
    if rules:
        assert is_one_key(one, other, found)


@pytest.mark.parametrize("answer", ["It is build 8811.", 'Wrote {"n": "\\n8811"}'])
def test_no_rule_is_made_for_a_value_that_the_answer_repeats(store: Store, answer: str) -> None:
    found = cure(store, chat("It says Build: 8811, go on"), chat("It says Build: 8812, go on"), answer)
    assert not found
    assert "repeats" in found.reason


TIMES = "It is 2026-11-24T07:54:38Z, so go on.", "It is 2026-12-01T09:00:00Z, so go on."
PATHS = "Write to /tmp/tmp.k3J9xQ2aLm please.", "Write to /tmp/tmp.Zw81hTpB0c please."


@pytest.mark.parametrize(
    ("texts", "answer", "expected"),
    [
        (TIMES, "Very well.", {"CACHE_NORMALIZE": "timestamps"}),
        (PATHS, "Very well.", {"CACHE_NORMALIZE": "tmp-paths"}),
        (PATHS, "Wrote /tmp/tmp.k3J9xQ2aLm/a.txt", {"CACHE_REBIND": "on"}),
        (TIMES, "At 2026-11-24T07:54:38Z, noted.", {"CACHE_REBIND": "on"}),
        (TIMES, "It is due tomorrow.", {}),
        (PATHS, "See k3J9xQ2aLm.", {}),
    ],
)
def test_a_value_that_the_answer_repeats_is_rebound_or_left(
    store: Store, texts: tuple[str, str], answer: str, expected: dict[str, str]
) -> None:
    assert cure(store, *map(chat, texts), answer).settings == expected


def test_rebinding_is_not_suggested_where_it_is_already_on(store: Store) -> None:
    found = cure(store, *map(chat, TIMES), "It is due tomorrow.", CACHE_REBIND="on")
    assert (found.settings, found.reason) == ({}, "not rebound: a time or date is computed: time")


def test_cures_of_several_kinds_are_named_together(store: Store) -> None:
    one, other = (chat(text, session_id=name) for text, name in zip(PATHS, ("s1", "s2"), strict=True))
    assert cure(store, one, other).settings == {"CACHE_IGNORE_KEYS": "/session_id", "CACHE_NORMALIZE": "tmp-paths"}
    one, other = (chat(text, session_id=name) for text, name in zip(PATHS, ("s3", "s4"), strict=True))
    found = cure(store, one, other, "Wrote /tmp/tmp.k3J9xQ2aLm/a.txt")
    assert found.settings == {"CACHE_IGNORE_KEYS": "/session_id", "CACHE_REBIND": "on"}


@pytest.mark.parametrize(
    ("present", "answer", "expected"),
    [
        ("/builds/shop", "see /home/anna/shop/main.py", "cwd=/builds/shop"),
        ("/builds/shop", "Very well.", "cwd=/builds/shop"),
        ("another folder", "Very well.", ""),
    ],
)
def test_a_folder_that_only_the_recording_knew_is_to_be_bound(
    store: Store, present: str, answer: str, expected: str
) -> None:
    one, other = (chat(f"The project is in {folder}/src, so go on.") for folder in ("/home/anna/shop", present))
    found = cure(store, one, other, answer, bind=("cwd=/home/anna/shop", ""), CACHE_REBIND="on")
    assert found.settings.get("CACHE_BIND", "") == expected
    assert not found.normalizers


def test_a_responses_call_that_the_provider_keeps_is_not_to_be_rebound(store: Store) -> None:
    def asked(text: str) -> dict[str, Any]:
        return {"model": "m", "input": f"{SYSTEM} {text}"}

    part = {"type": "output_text", "text": "Wrote /tmp/tmp.k3J9xQ2aLm/a.txt", "annotations": []}
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    whole = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}
    cache = Cache(Settings.load({}), store, loopback=True)
    plan = rebound.with_template(cache, cache.plan(request(asked(PATHS[0]), "/responses")))
    answer = Response(200, {"content-type": "application/json"}, json.dumps(whole).encode(), 1.0)
    entry = cache.judge(plan, answer, NOW)
    assert isinstance(entry, Entry), entry
    cache.keep(entry, NOW, record(cache, plan))
    near = near_miss.study(cache, cache.plan(request(asked(PATHS[1]), "/responses"))).near
    assert near is not None
    assert not near.cure


def test_a_text_that_a_vector_was_made_of_is_never_normalised(store: Store) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)

    def plan(text: str, **members: str) -> Plan:
        return cache.plan(request({"model": "m", "input": f"{SYSTEM} {text}"} | members, "/embeddings"))

    answer = json.dumps({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}).encode()
    entry = cache.judge(plan(TIMES[0]), Response(200, {"content-type": "application/json"}, answer, 1.0), NOW)
    assert isinstance(entry, Entry), entry
    cache.keep(entry, NOW, record(cache, plan(TIMES[0])))
    for asked, expected in (
        (plan(TIMES[1]), {}),
        (plan(TIMES[0], session_id="s1"), {"CACHE_IGNORE_KEYS": "/session_id"}),
    ):
        near = near_miss.study(cache, asked).near
        assert near is not None
        assert near.cure.settings == expected


def test_a_long_cure_is_named_in_short_in_headers() -> None:
    rules = tuple(f"s/(job {number}: )[0-9]+/<job>/" for number in range(20))
    near = Near("3f2a91c0" * 8, (Difference("/user", None, None, None),), Cure(("/user",), rules))
    assert str(near) == "near-miss 3f2a91c0: /user; a hit with CACHE_IGNORE_KEYS and CACHE_NORMALIZE"


def miss(path: str, uncured: str = "", **settings: str) -> dict[str, Any]:
    return {"differences": [{"path": path}], "settings": settings, "uncured": uncured}


def test_misses_are_grouped_by_what_helps_or_else_by_their_place() -> None:
    rule, field = {"CACHE_NORMALIZE": "dates"}, {"CACHE_IGNORE_KEYS": "/user"}
    misses = [
        miss("/messages/0/content", **rule),
        miss("/temperature", CHANGED),
        miss("/messages/9/content", **rule),
        miss("/user", **field),
        miss("/temperature", CHANGED),
        miss("/messages/0/content", **rule),
        {"differences": [{"path": "/system"}], "normalizers": ["dates"]},  # as an earlier version logged it
    ]
    found = [(group["path"], group["misses"], group["settings"], group["uncured"]) for group in causes.grouped(misses)]
    assert found == [
        ("/messages/0/content", 3, rule, ""),
        ("/temperature", 2, {}, CHANGED),
        ("/user", 1, field, ""),
        ("/system", 1, {}, CHANGED),
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], {}),
        ([{"CACHE_NORMALIZE": "dates"}, {"CACHE_NORMALIZE": "uuids,dates"}], {"CACHE_NORMALIZE": "dates,uuids"}),
        ([{"CACHE_NORMALIZE": r"s/a\,b/x/"}, {"CACHE_NORMALIZE": "dates"}], {"CACHE_NORMALIZE": r"s/a\,b/x/,dates"}),
        ([{"CACHE_REBIND": "off"}, {"CACHE_REBIND": "on"}], {"CACHE_REBIND": "on"}),
        ([{"CACHE_IGNORE_KEYS": ""}, {"CACHE_IGNORE_KEYS": "/a"}], {"CACHE_IGNORE_KEYS": "/a"}),
    ],
)
def test_settings_are_merged(settings: list[dict[str, str]], expected: dict[str, str]) -> None:
    assert causes.merged(settings) == expected
