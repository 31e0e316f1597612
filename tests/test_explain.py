"""The nearest stored request is found, and where it differs; never across scopes, namespaces, samples and APIs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache import explain, key
from computer_use_cache.cache import Cache, Plan
from computer_use_cache.explain import Difference, Near, Study
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.record import lacks_media
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

NOW = 2_000_000_000.0
SETTINGS = Settings.load({})
ANSWER = {"object": "chat.completion", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("click", "type")
]
SYSTEM = "You are an agent that books trains. Ask before you pay. Never guess a date, and always name the platform."
PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 200


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "store", 2**26)
    yield store
    store.close()


@pytest.fixture
def cache(store: DiskStore) -> Cache:
    return Cache(SETTINGS, store, loopback=True)


def turns(number: int, count: int = 3) -> list[dict[str, Any]]:
    """A conversation that shares its system prompt with every other one and nothing else."""
    words = random.Random(number)
    texts = (" ".join(f"{words.randrange(10**6):x}" for _ in range(20)) for _ in range(count))
    roles = ("user", "assistant")
    spoken = [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]
    return [{"role": "system", "content": SYSTEM}, *spoken]


def body(number: int, **members: Any) -> dict[str, Any]:
    return {"model": "m", "messages": turns(number), "tools": TOOLS, "temperature": 0} | members


def plan(
    cache: Cache,
    sent: dict[str, Any],
    path: str = "/chat/completions",
    upstream: str = "https://a.test/v1",
    **headers: str,
) -> Plan:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return cache.plan(Request(upstream, path, (), named, json.dumps(sent).encode()))


def keep(cache: Cache, planned: Plan) -> str:
    answer = Response(200, {"content-type": "application/json"}, json.dumps(ANSWER).encode(), 1.0)
    entry = cache.judge(planned, answer, NOW)
    assert isinstance(entry, Entry), entry
    cache.keep(entry, NOW, cache.record(planned))
    return entry.key


def edited(change: str) -> dict[str, Any]:
    """Request 7 of the stored ones, with one change."""
    sent = body(7)
    messages = sent["messages"]
    match change:
        case "a word more in the last message":
            messages[-1]["content"] += " please"
        case "a line in front of the system prompt":
            messages[0]["content"] = "Today is Monday. " + SYSTEM
        case "a message in the middle":
            messages[1]["content"] = "Forget it." + messages[1]["content"]
        case "another temperature":
            sent["temperature"] = 0.5
        case "another model":
            sent["model"] = "m-2"
        case "a tool less":
            sent["tools"] = TOOLS[:1]
        case "a field more":
            sent["a/b~c"] = 1
        case "a field less":
            del sent["temperature"]
        case "a message less":
            messages.pop()
    return sent


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("a word more in the last message", ("/messages/3/content", len(turns(7)[-1]["content"]))),
        ("a line in front of the system prompt", ("/messages/0/content", 0)),
        ("a message in the middle", ("/messages/1/content", 0)),
        ("another temperature", ("/temperature", None)),
        ("another model", ("/model", 1)),
        ("a tool less", ("/tools/1", None)),
        ("a field more", ("/a~1b~0c", None)),
        ("a field less", ("/temperature", None)),
        ("a message less", ("/messages/3", None)),
    ],
)
def test_the_request_with_one_change_is_found_among_many(
    cache: Cache, change: str, expected: tuple[str, int | None]
) -> None:
    keys = [keep(cache, plan(cache, body(number))) for number in range(60)]
    near = explain.study(cache, plan(cache, edited(change))).near
    assert near is not None
    assert near.key == keys[7]
    assert [(one.path, one.at) for one in near.differences] == [expected]


def test_another_question_to_the_same_agent_is_no_near_miss(cache: Cache) -> None:
    keep(cache, plan(cache, body(1)))
    assert explain.study(cache, plan(cache, body(2))).near is None


def test_a_conversation_that_goes_on_is_no_near_miss(cache: Cache) -> None:
    keep(cache, plan(cache, body(1, messages=turns(1, 3))))
    assert explain.study(cache, plan(cache, body(1, messages=turns(1, 5)))).near is None


def test_the_same_step_of_another_run_is_nearer_than_the_step_before(cache: Cache) -> None:
    changed = [{"role": "system", "content": SYSTEM + " Be brief."}, *turns(1)[1:]]
    first_run = keep(cache, plan(cache, body(1)))
    keep(cache, plan(cache, body(1, messages=changed[:2])))
    near = explain.study(cache, plan(cache, body(1, messages=changed))).near
    assert near is not None
    assert (near.key, str(near.differences[0])) == (first_run, f"/messages/0/content @ char {len(SYSTEM)}")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"upstream": "https://b.test/v1"}, "upstream"),
        ({"openai_beta": "x=1"}, "header openai-beta"),
    ],
)
def test_what_differs_outside_the_body_is_named(cache: Cache, change: dict[str, str], path: str) -> None:
    keep(cache, plan(cache, body(1)))
    near = explain.study(cache, plan(cache, body(1), **change)).near
    assert near is not None
    assert [one.path for one in near.differences] == [path]


@pytest.mark.parametrize(
    "headers",
    [{"x_cache_namespace": "other"}, {"x_cache_sample": "2"}, {"authorization": "Bearer another"}],
)
def test_nothing_is_named_across_namespaces_samples_and_callers(store: DiskStore, headers: dict[str, str]) -> None:
    cache = Cache(SETTINGS, store, loopback=False)
    keep(cache, plan(cache, body(1), authorization="Bearer one"))
    sent = {"authorization": "Bearer one"} | headers
    assert explain.study(cache, plan(cache, body(1, temperature=1), **sent)).near is None
    assert explain.study(cache, plan(cache, body(1, temperature=1), authorization="Bearer one")).near is not None


def test_nothing_is_named_across_apis(cache: Cache) -> None:
    keep(cache, plan(cache, body(1)))
    assert explain.study(cache, plan(cache, body(1, max_tokens=5), "/messages")).near is None


def test_a_request_that_holds_a_credential_is_neither_recorded_nor_compared(cache: Cache) -> None:
    secret = "".join(("ghp", "_", "a1B2" * 9))
    keep(cache, plan(cache, body(1)))
    found = explain.study(cache, plan(cache, body(1, user_note=f"use {secret}")))
    assert found.bypass is not None
    assert found == Study(bypass=found.bypass)


def test_an_entry_that_is_gone_is_not_named(cache: Cache) -> None:
    cache.store.delete(keep(cache, plan(cache, body(1))))
    assert explain.study(cache, plan(cache, body(1, temperature=1))).near is None


def test_pictures_are_recorded_by_their_digest_and_compared_by_it(cache: Cache) -> None:
    def shown(picture: str) -> dict[str, Any]:
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "What is it?"}]
        return body(1, messages=[{"role": "user", "content": content}])

    record = cache.record(plan(cache, shown(PICTURE)))
    assert lacks_media(record.body)
    assert len(record.body) < 1000
    assert not lacks_media(cache.record(plan(cache, body(1))).body)
    keep(cache, plan(cache, shown(PICTURE)))
    near = explain.study(cache, plan(cache, shown(PICTURE[:-4] + "AAAA"))).near
    assert near is not None
    assert near.differences[0].path == "/messages/0/content/0/image_url/url"
    assert explain.study(cache, plan(cache, shown(PICTURE) | {"temperature": 1})).near == Near(
        near.key, (Difference("/temperature", None, "1", "0"),)
    )


def test_the_record_of_a_request_with_odd_numbers_and_text_has_the_same_key(cache: Cache) -> None:
    text = b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}],"seed":%d,"top_p":0.10,"x":1e2}' % 2**70
    planned = cache.plan(Request("https://a.test/v1", "/chat/completions", (), {}, text))
    record = cache.record(planned)
    again = cache.plan(Request("https://a.test/v1", "/chat/completions", (), {}, record.body))
    assert again.key == planned.key


@pytest.mark.parametrize(
    ("asked", "recorded", "expected"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [Difference("/a", None, "1", "true")]),
        ({"a": [1, 2]}, {"a": [1]}, [Difference("/a/1", None, "2", None)]),
        ({"a": [1]}, {"a": [1, 2]}, [Difference("/a/1", None, None, "2")]),
        ({"a": "xyz"}, {"a": "xyzzy"}, [Difference("/a", 3, "xyz", "xyzzy")]),
        ({"a": "xyz"}, {"a": ["xyz"]}, [Difference("/a", None, '"xyz"', '["xyz"]')]),
        ({"a": {"b": None}}, {"a": {}}, [Difference("/a/b", None, "null", None)]),
        ({"a": 1, "b": 2}, {"b": 3, "a": 4}, [Difference("/a", None, "1", "4"), Difference("/b", None, "2", "3")]),
        ({"a": "\ud800"}, {"a": "b"}, [Difference("/a", 0, "\ud800", "b")]),
    ],
)
def test_the_differences_of_two_values(asked: Any, recorded: Any, expected: list[Difference]) -> None:
    parsed = (key.parse_body(json.dumps(value).encode()) for value in (asked, recorded))
    assert list(explain.differences(*parsed)) == expected


def test_a_long_text_is_shown_from_a_little_before_the_difference() -> None:
    [found] = explain.differences("x" * 50_000 + "ONE" + "y" * 500, "x" * 50_000 + "TWO" + "y" * 500)
    assert (found.at, found.asked, found.recorded) == (50_000, "x" * 8 + "ONE" + "y" * 21, "x" * 8 + "TWO" + "y" * 21)


@pytest.mark.parametrize(
    ("asked", "recorded", "alike"),
    [
        ("call_1", "call_2", 1.0),
        ("2026-01-01 10:00", "2027-02-03 11:11", 1.0),
        ("one two three four", "one two three five", 15 / 18),
        ("one two three four", "XXX two three four", 15 / 18),
        ("what is it now", "who knows that then", 2 / 19),
        ("a b c", "a b c a b c", 5 / 11),
    ],
)
def test_how_much_two_texts_are_alike(asked: str, recorded: str, alike: float) -> None:
    [found] = explain.differences(asked, recorded)
    assert found.alike == pytest.approx(alike)


def test_the_misses_of_a_run_are_noted_newest_first(cache: Cache) -> None:
    keep(cache, plan(cache, body(1)))
    for number, temperature in enumerate((0.5, 1, 2)):
        planned = plan(cache, body(1, temperature=temperature))
        near = explain.study(cache, planned).near
        assert near is not None
        explain.log_miss(cache, planned, near, NOW + number)
    noted = explain.misses(cache.store, NOW + 1)
    assert [(miss["at"], miss["differences"][0]["asked"]) for miss in noted] == [(NOW + 2, "2"), (NOW + 1, "1")]
    assert noted[0]["model"] == "m"


UUIDS = ["6f9619ff-8b86-d011-b42d-00c04fc964ff", "0e984725-c51c-4bf4-9960-e1c80e27aba0"]


@pytest.mark.parametrize(
    ("asked", "stored", "expected"),
    [
        (f"Task {UUIDS[0]} is yours.", f"Task {UUIDS[1]} is yours.", ("uuids",)),
        ("It is 2026-01-02T10:00:00Z now, go on.", "It is 2026-01-02T10:07:31Z now, go on.", ("timestamps",)),
        ("Look at /tmp/tmpab12cd34/x.png, please.", "Look at /tmp/tmpzz99yy88/x.png, please.", ("tmp-paths",)),
        (
            f"Task {UUIDS[0]} in /tmp/tmpab12cd34/x.png, please.",
            f"Task {UUIDS[1]} in /tmp/tmpzz99yy88/x.png, please.",
            ("uuids", "tmp-paths"),
        ),
        (
            f"Ask first, then do {UUIDS[0]} before evening comes.",
            f"Ask first, then do {UUIDS[1]} before the evening comes.",
            (),
        ),
        ("Book a train to Bern for me.", "Book a train to Basel for me.", ()),
    ],
)
def test_the_normalisers_that_would_have_made_it_a_hit_are_named(
    cache: Cache, asked: str, stored: str, expected: tuple[str, ...]
) -> None:
    keep(cache, plan(cache, body(1, messages=[{"role": "user", "content": stored}])))
    near = explain.study(cache, plan(cache, body(1, messages=[{"role": "user", "content": asked}]))).near
    assert near is not None
    assert near.normalizers == expected
    assert ("; a hit with CACHE_NORMALIZE=" + ",".join(expected) in str(near)) is bool(expected)


def test_no_normaliser_helps_where_another_upstream_was_asked(cache: Cache) -> None:
    keep(cache, plan(cache, body(1, messages=[{"role": "user", "content": f"Do {UUIDS[0]} and go on"}])))
    other = body(1, messages=[{"role": "user", "content": f"Do {UUIDS[1]} and go on"}])
    near = explain.study(cache, plan(cache, other, upstream="https://b.test/v1")).near
    assert near is not None
    assert near.normalizers == ()
