"""The nearest stored request is found, and where it differs; never across scopes, namespaces, samples and APIs."""

from __future__ import annotations

import base64
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import miss_log, near_miss
from computer_use_cache.diagnosis.differences import HIDDEN, Difference, differences
from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.diagnosis.request_record import bytes_with_media, record
from computer_use_cache.keys import canonical_json
from computer_use_cache.models import Entry, Request, Shape
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.store.opening import open_store

NOW = 2_000_000_000.0
SETTINGS = Settings.load({})
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("click", "type")
]
SYSTEM = "You are an agent that books trains. Ask before you pay. Never guess a date, and always name the platform."
PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 200


@pytest.fixture(params=["disk", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    given = {"CACHE_DIR": str(tmp_path / "store")}
    if request.param == "redis":
        given["CACHE_STORE_URL"] = request.getfixturevalue("store_server").connection_url
    store = open_store(Settings.load(given))
    yield store
    store.close()


@pytest.fixture
def cache(store: Store) -> Cache:
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


def keep(cache: Cache, planned: Plan, answer: bytes = b"{}", shape: Shape = Shape.JSON) -> str:
    entry = Entry(planned.key, planned.format.name, shape, planned.model, "", (), answer, NOW, None, 1.0)
    cache.keep(entry, NOW, record(cache, planned))
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
    near = near_miss.study(cache, plan(cache, edited(change))).near
    assert near is not None
    assert near.key == keys[7]
    assert [(one.path, one.at) for one in near.differences] == [expected]


def test_another_question_to_the_same_agent_is_not_a_near_miss(cache: Cache) -> None:
    keep(cache, plan(cache, body(1)))
    assert near_miss.study(cache, plan(cache, body(2))).near is None


def test_a_continued_conversation_is_not_a_near_miss(cache: Cache) -> None:
    keep(cache, plan(cache, body(1, messages=turns(1, 3))))
    assert near_miss.study(cache, plan(cache, body(1, messages=turns(1, 5)))).near is None


def test_the_same_step_of_another_run_is_nearer_than_the_step_before(cache: Cache) -> None:
    changed = [{"role": "system", "content": SYSTEM + " Be brief."}, *turns(1)[1:]]
    first_run = keep(cache, plan(cache, body(1)))
    keep(cache, plan(cache, body(1, messages=changed[:2])))
    near = near_miss.study(cache, plan(cache, body(1, messages=changed))).near
    assert near is not None
    assert (near.key, str(near.differences[0])) == (first_run, f"/messages/0/content @ char {len(SYSTEM)}")


def chat_step(call_id: str, number: int, text: str) -> list[dict[str, Any]]:
    call = {"id": call_id, "type": "function", "function": {"name": "platform", "arguments": f'{{"train": {number}}}'}}
    result = {"role": "tool", "tool_call_id": call_id, "content": text}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, result]


def responses_step(call_id: str, number: int, text: str) -> list[dict[str, Any]]:
    call = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": "platform"}
    result = {"type": "function_call_output", "call_id": call_id, "output": text}
    return [call | {"arguments": f'{{"train": {number}}}'}, result]


def messages_step(call_id: str, number: int, text: str) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": call_id, "name": "platform", "input": {"train": number}}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": text}
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]


def gemini_step(call_id: str, number: int, text: str) -> list[dict[str, Any]]:
    call = {"functionCall": {"id": call_id, "name": "platform", "args": {"train": number}}}
    result = {"functionResponse": {"id": call_id, "name": "platform", "response": {"is": text}}}
    return [{"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]


type Ask = Callable[[str, str, list[dict[str, Any]]], dict[str, Any]]

AGENTS: dict[str, tuple[Ask, Callable[[str, int, str], list[dict[str, Any]]], str]] = {
    "/chat/completions": (
        lambda system, task, steps: body(
            1, messages=[{"role": "system", "content": system}, {"role": "user", "content": task}, *steps]
        ),
        chat_step,
        "/messages/0/content",
    ),
    "/responses": (
        lambda system, task, steps: {
            "model": "m",
            "instructions": system,
            "input": [{"role": "user", "content": task}, *steps],
        },
        responses_step,
        "/instructions",
    ),
    "/messages": (
        lambda system, task, steps: {
            "model": "m",
            "system": system,
            "max_tokens": 9,
            "messages": [{"role": "user", "content": task}, *steps],
        },
        messages_step,
        "/system",
    ),
    "/models/m:generateContent": (
        lambda system, task, steps: {
            "systemInstruction": {"parts": [{"text": system}]},
            "contents": [{"role": "user", "parts": [{"text": task}]}, *steps],
        },
        gemini_step,
        "/systemInstruction/parts/0/text",
    ),
}
"""How an agent asks in each API: the body of a request, the items of a step, and where the system prompt stands."""


@pytest.mark.parametrize("path", AGENTS)
@pytest.mark.parametrize("steps", [3, 9])
def test_each_step_after_an_edit_of_the_prompt_is_nearest_to_the_same_step_before_it(
    cache: Cache, path: str, steps: int
) -> None:
    """Whatever ids the provider mints: only those of the tools' results differ between the tasks' steps."""
    ask, step, place = AGENTS[path]
    for seed in range(4):
        chance, keys = random.Random(seed), dict[tuple[str, int], str]()
        for system in (SYSTEM, SYSTEM.replace("Never", "Do not")):
            for task in ("How do I get from Basel to Bern?", "Which train goes to Lugano at noon?"):
                spoken: list[dict[str, Any]] = []
                for number in range(steps):
                    planned = plan(cache, ask(system, task, spoken), path, x_cache_namespace=f"run-{seed}")
                    near = near_miss.study(cache, planned).near
                    if system != SYSTEM:
                        assert near, (seed, task, number)
                        assert near.key == keys[task, number], (seed, task, number)
                        assert place in [one.path for one in near.differences]
                    keys.setdefault((task, number), keep(cache, planned))
                    spoken += step(f"call_{chance.randbytes(4).hex()}", number, f"IC {number} leaves from platform 7")


@pytest.mark.parametrize("place", range(1, 19))
def test_a_long_conversation_with_one_item_edited_is_nearest_to_the_one_it_was(cache: Cache, place: int) -> None:
    for count in range(1, 21):
        planned = plan(cache, body(1, messages=turns(1, count)))
        if count == 20:
            original = keep(cache, planned)
        keep(cache, planned)
    changed = turns(1, 20)
    changed[place]["content"] = "Well: " + changed[place]["content"]
    near = near_miss.study(cache, plan(cache, body(1, messages=changed))).near
    assert near is not None
    assert (near.key, [one.path for one in near.differences]) == (original, [f"/messages/{place}/content"])


def test_of_two_near_requests_the_one_to_the_same_model_is_named(cache: Cache) -> None:
    def asked(model: str, last: str) -> dict[str, Any]:
        return body(1, model=model, messages=[*turns(1), {"role": "user", "content": last}])

    same_model = keep(cache, plan(cache, asked("m", "Which platform is it, and when?")))
    keep(cache, plan(cache, asked("m-2", "Which platform is it now, and when?")))
    near = near_miss.study(cache, plan(cache, asked("m", "Which platform is it now, and when?"))).near
    assert near is not None
    assert near.key == same_model


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"upstream": "https://b.test/v1"}, "upstream"),
        ({"openai_beta": "x=1"}, "header openai-beta"),
    ],
)
def test_what_differs_outside_the_body_is_named(cache: Cache, change: dict[str, str], path: str) -> None:
    keep(cache, plan(cache, body(1)))
    near = near_miss.study(cache, plan(cache, body(1), **change)).near
    assert near is not None
    assert [one.path for one in near.differences] == [path]


@pytest.mark.parametrize(
    "headers",
    [{"x_cache_namespace": "other"}, {"x_cache_sample": "2"}, {"authorization": "Bearer another"}],
)
def test_nothing_is_named_across_namespaces_samples_and_callers(store: Store, headers: dict[str, str]) -> None:
    cache = Cache(SETTINGS, store, loopback=False)
    keep(cache, plan(cache, body(1), authorization="Bearer one"))
    sent = {"authorization": "Bearer one"} | headers
    assert near_miss.study(cache, plan(cache, body(1, temperature=1), **sent)).near is None
    assert near_miss.study(cache, plan(cache, body(1, temperature=1), authorization="Bearer one")).near is not None


def test_nothing_is_named_across_apis(cache: Cache) -> None:
    keep(cache, plan(cache, body(1)))
    assert near_miss.study(cache, plan(cache, body(1, max_tokens=5), "/messages")).near is None


def test_a_credential_is_neither_recorded_nor_compared(cache: Cache) -> None:
    secret = "".join(("ghp", "_", "a1B2" * 9))
    keep(cache, plan(cache, body(1)))
    found = near_miss.study(cache, rebound.prepare(cache, plan(cache, body(1, user_note=f"use {secret}"))))
    assert found.near is not None
    assert found.near.differences[0].asked == '"use <secret 1>"'
    assert secret not in repr(found)


def test_an_entry_that_is_gone_is_not_named(cache: Cache) -> None:
    cache.store.delete(keep(cache, plan(cache, body(1))))
    assert near_miss.study(cache, plan(cache, body(1, temperature=1))).near is None


def test_pictures_are_recorded_by_their_digest_and_compared_by_it(cache: Cache) -> None:
    def shown(picture: str) -> dict[str, Any]:
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "What is it?"}]
        return body(1, messages=[{"role": "user", "content": content}])

    recorded = record(cache, plan(cache, shown(PICTURE)))
    assert len(recorded.body) < 1000
    assert list(recorded.media.values()) == [PICTURE.partition(",")[2]]
    keep(cache, plan(cache, shown(PICTURE)))
    near = near_miss.study(cache, plan(cache, shown(PICTURE[:-4] + "AAAA"))).near
    assert near is not None
    assert near.differences[0].path == "/messages/0/content/0/image_url/url"
    assert near_miss.study(cache, plan(cache, shown(PICTURE) | {"temperature": 1})).near == Near(
        near.key, (Difference("/temperature", None, "1", "0"),)
    )


def test_the_record_of_a_request_with_odd_numbers_and_text_has_the_same_key(cache: Cache) -> None:
    text = b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}],"seed":%d,"top_p":0.10,"x":1e2}' % 2**70
    planned = cache.plan(Request("https://a.test/v1", "/chat/completions", (), {}, text))
    recorded = record(cache, planned)
    again = cache.plan(Request("https://a.test/v1", "/chat/completions", (), {}, recorded.body))
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
    parsed = (canonical_json.parse_body(json.dumps(value).encode()) for value in (asked, recorded))
    assert list(differences(*parsed)) == expected


def test_a_long_text_is_shown_from_a_little_before_the_difference() -> None:
    [found] = differences("x" * 50_000 + "ONE" + "y" * 500, "x" * 50_000 + "TWO" + "y" * 500)
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
    [found] = differences(asked, recorded)
    assert found.alike == pytest.approx(alike)


def test_the_misses_of_a_run_are_noted_newest_first(cache: Cache) -> None:
    keep(cache, plan(cache, body(1)))
    for number, temperature in enumerate((0.5, 1, 2)):
        planned = plan(cache, body(1, temperature=temperature))
        near = near_miss.study(cache, planned).near
        assert near is not None
        near_miss.log_miss(cache, planned, near, NOW + number)
    noted = miss_log.near_misses(cache.store, NOW + 1)
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
    near = near_miss.study(cache, plan(cache, body(1, messages=[{"role": "user", "content": asked}]))).near
    assert near is not None
    assert near.cure.normalizers == expected
    assert ("; a hit with CACHE_NORMALIZE=" + ",".join(expected) in str(near)) is bool(expected)


TEMPORARY = ["/tmp/tmpab12cd34", "/tmp/tmpzz99yy88"]


def write_to(path: str) -> dict[str, Any]:
    arguments = json.dumps({"path": f"{path}/out.txt", "text": "done"})
    call = {"id": "call_1", "type": "function", "function": {"name": "write", "arguments": arguments}}
    return {"choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}


def say(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("asked", "stored", "answer", "expected"),
    [
        (f"Work in {TEMPORARY[0]} now.", f"Work in {TEMPORARY[1]} now.", say("Very well."), ("tmp-paths",)),
        (f"Work in {TEMPORARY[0]} now.", f"Work in {TEMPORARY[1]} now.", write_to("/home/me"), ("tmp-paths",)),
        (f"Work in {TEMPORARY[0]} now.", f"Work in {TEMPORARY[1]} now.", write_to(TEMPORARY[1]), ()),
        (f"Work in {TEMPORARY[0]} now.", f"Work in {TEMPORARY[1]} now.", say("It is in TMPZZ99YY88_out."), ()),
        (f"{SYSTEM} {UUIDS[0]} {UUIDS[1]}", f"{SYSTEM} {UUIDS[1]} {UUIDS[0]}", say(f"First {UUIDS[1]}."), ()),
        ("The day is 2026-11-24, go.", "The day is 2026-11-25, go.", say("It takes 1259 minutes."), ("dates",)),
        ("The day is 2026-11-24, go.", "The day is 2026-11-25, go.", say("It is November 25."), ()),
        ("The day is 2026-11-24, go.", "The day is Tuesday, Nov 24, 2026, go.", say("On a Tuesday,\\nso go."), ()),
        ("The day is 2026-11-24, go.", "The day is Tuesday, Nov 24, 2026, go.", say("Going."), ("dates",)),
    ],
)
def test_no_normaliser_is_named_that_would_serve_a_recorded_value(
    cache: Cache, asked: str, stored: str, answer: dict[str, Any], expected: tuple[str, ...]
) -> None:
    keep(cache, plan(cache, body(1, messages=[{"role": "user", "content": stored}])), json.dumps(answer).encode())
    near = near_miss.study(cache, plan(cache, body(1, messages=[{"role": "user", "content": asked}]))).near
    assert near is not None
    assert near.cure.normalizers == expected


def test_a_value_that_a_stream_says_in_pieces_is_found_too(cache: Cache) -> None:
    first, second = TEMPORARY[1][:9], TEMPORARY[1][9:]
    choices = ({"index": 0, "delta": {"content": text}} for text in (first, second))
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [json.dumps({"choices": [choice]}) for choice in (*choices, end)] + ["[DONE]"]
    stream = "".join(f"data: {event}\n\n" for event in events).encode()
    asked, stored = (body(1, messages=[{"role": "user", "content": f"Work in {path} now."}]) for path in TEMPORARY)
    keep(cache, plan(cache, stored), stream, Shape.SSE)
    near = near_miss.study(cache, plan(cache, asked)).near
    assert near is not None
    assert near.cure.normalizers == ()


def test_the_credential_of_a_stored_request_is_not_shown(cache: Cache) -> None:
    """An older version may have stored what is found now."""
    secret = "".join(("ghp", "_", "a1B2" * 9))
    keep(
        cache, plan(cache, body(1, messages=[{"role": "user", "content": f"Log in with the token {secret}, please."}]))
    )
    sent = body(1, messages=[{"role": "user", "content": "Log in with the token that you have, please."}])
    near = near_miss.study(cache, plan(cache, sent)).near
    assert near is not None
    assert [(one.asked, one.recorded) for one in near.differences] == [("e token that you have, please.", HIDDEN)]


def test_no_normaliser_helps_where_another_upstream_was_asked(cache: Cache) -> None:
    keep(cache, plan(cache, body(1, messages=[{"role": "user", "content": f"Do {UUIDS[0]} and go on"}])))
    other = body(1, messages=[{"role": "user", "content": f"Do {UUIDS[1]} and go on"}])
    near = near_miss.study(cache, plan(cache, other, upstream="https://b.test/v1")).near
    assert near is not None
    assert near.cure.normalizers == ()


def test_what_was_forwarded_is_made_of_its_record_again_byte_for_byte(cache: Cache) -> None:
    data = PICTURE.partition(",")[2]
    texts = [
        PICTURE,
        data,
        data + "AAAA",
        "AAAA" + data,
        data.replace("0", "_"),
        f"see {PICTURE}",
        "\u00e9 \ud800",
        "short",
    ]
    for written in (json.dumps(body(1, texts=texts), indent=1), json.dumps(body(1, texts=[PICTURE, *texts]))):
        sent = written.replace('"temperature"', '"stream" : true, "temperature"').encode()
        recorded = record(cache, cache.plan(Request("https://a.test/v1", "/chat/completions", (), {}, sent)))
        assert len(recorded.body) < len(sent) / 2
        assert bytes_with_media(recorded.body, recorded.media.get) == sent
        assert bytes_with_media(recorded.body, {}.get) is None


def test_a_body_that_escapes_its_picture_is_kept_without_it_all_the_same(cache: Cache) -> None:
    picture = "data:image/png;base64," + "iVBO/w0K" * 200
    sent = body(1, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}])
    escaped = json.dumps(sent).replace("/", "\\/").encode()
    recorded = record(cache, cache.plan(Request("https://a.test/v1", "/chat/completions", (), {}, escaped)))
    assert len(recorded.body) < 1000
    restored = bytes_with_media(recorded.body, recorded.media.get)
    assert restored is not None
    assert json.loads(restored) == sent


def png(colour: tuple[int, int, int], note: str) -> str:
    """A picture file with noise enough to be long; another `note` gives another file with the same pixels."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (scripts/setup dev)")
    made, file = image.frombytes("RGB", (40, 40), random.Random(1).randbytes(4800)), io.BytesIO()
    made.putpixel((0, 0), colour)
    made.save(file, "PNG", compress_level=len(note) % 10)
    return base64.b64encode(file.getvalue()).decode()


def chat_picture(data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def look(path: str, data: str, text: str) -> dict[str, Any]:
    """A request to each API that shows a picture."""
    match path:
        case "/chat/completions":
            return body(1, messages=[{"role": "user", "content": [{"type": "text", "text": text}, chat_picture(data)]}])
        case "/responses":
            picture = {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
            content = [{"type": "input_text", "text": text}, picture]
            return {"model": "m", "input": [{"role": "user", "content": content}]}
        case "/messages":
            source = {"type": "base64", "media_type": "image/png", "data": data}
            content = [{"type": "text", "text": text}, {"type": "image", "source": source}]
            return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    parts = [{"text": text}, {"inlineData": {"mimeType": "image/png", "data": data}}]
    return {"contents": [{"role": "user", "parts": parts}]}


BLACK, RED = (0, 0, 0), (255, 0, 0)


@pytest.mark.parametrize("path", AGENTS)
@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        ((BLACK, "at nine", "What is it?"), (BLACK, "at ten", "What is it?"), ("image-pixels",)),
        (
            (BLACK, "at nine", f"Do task {UUIDS[0]} right now."),
            (BLACK, "ten", f"Do task {UUIDS[1]} right now."),
            ("uuids", "image-pixels"),
        ),
        ((BLACK, "at nine", "What is it?"), (RED, "at nine", "What is it?"), ()),
        ((BLACK, "at nine", "What can it be, then?"), (BLACK, "at ten", "What can it be, now?"), ()),
    ],
    ids=["another file", "another file and id", "other pixels", "other words, too"],
)
def test_image_pixels_is_named_where_two_files_show_the_same(
    cache: Cache, path: str, stored: tuple[Any, ...], asked: tuple[Any, ...], expected: tuple[str, ...]
) -> None:
    keep(cache, plan(cache, look(path, png(*stored[:2]), stored[2]), path))
    near = near_miss.study(cache, plan(cache, look(path, png(*asked[:2]), asked[2]), path)).near
    assert near is not None
    keeps_pictures = isinstance(cache.store, DiskStore)
    assert near.cure.normalizers == (expected if keeps_pictures else ())


def test_image_pixels_is_not_named_where_a_picture_is_gone_or_there_are_many(tmp_path: Path) -> None:
    for count, gone in ((1, True), (5, False), (4, False)):
        store = DiskStore(tmp_path / f"{count}", 2**26)
        cache = Cache(SETTINGS, store, loopback=True)

        def shown(note: str, count: int = count) -> dict[str, Any]:
            content = [chat_picture(png((number, 0, 0), note)) for number in range(count)]
            return body(1, messages=[{"role": "user", "content": content}])

        keep(cache, plan(cache, shown("at nine")))
        if gone:
            shutil.rmtree(tmp_path / f"{count}" / "media")
            store.close()
            store = DiskStore(tmp_path / f"{count}", 2**26)
            cache = Cache(SETTINGS, store, loopback=True)
        near = near_miss.study(cache, plan(cache, shown("at ten"))).near
        assert near is not None
        assert near.cure.normalizers == (("image-pixels",) if count == 4 else ())
        store.close()
