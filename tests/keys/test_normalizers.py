"""What each normaliser makes equal and what it must not, and that none changes what is forwarded."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computer_use_cache import formats
from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import SettingError
from computer_use_cache.formats.base import Format
from computer_use_cache.keys import canonical_json
from computer_use_cache.keys.normalizers import NAMES, normalizers
from computer_use_cache.models import Request
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

ONE, TWO = "550e8400-e29b-41d4-a716-446655440000", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"


def api_of(body: dict[str, Any]) -> Format:
    """The API that has the fields of a body."""
    if "messages" in body:
        written = json.dumps(body)
        is_anthropic = any(word in written for word in ("tool_use", "tool_result", '"source"', '"caller"'))
        return formats.by_name("messages" if is_anthropic else "chat_completions")
    return formats.by_name("gemini" if "contents" in body else "responses")


def canonical(rules: str, body: dict[str, Any]) -> bytes:
    """What is hashed of a body."""
    for normalizer in normalizers(rules):
        body = normalizer.apply(api_of(body), body)
    return canonical_json.canonical(body)


def are_equal(rules: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    return canonical(rules, one) == canonical(rules, other)


EQUAL_TEXTS: dict[str, list[tuple[str, str]]] = {
    "uuids": [
        (f"run {ONE}", f"run {TWO}"),
        (f"run {ONE}", f"run {ONE.upper()}"),
        (f"call_{ONE}_x", f"call_{TWO}_x"),
        (f"{ONE},{TWO},{ONE}", f"{TWO},{ONE},{TWO}"),
    ],
    "timestamps": [
        ("at 2026-11-24T07:54:38Z", "at 2025-01-02T03:04:05Z"),
        ("at 2026-11-24T07:54:38.123456+00:00.", "at 2026-11-24T07:54:38.9+01:30."),
        ("at 2026-11-24 07:54", "at 2026-11-25 08:55"),
        ("at 2026-11-24 07:54:38,123 UTC", "at 2026-11-24 07:54:39,456 UTC"),
        ("Tue, 24 Nov 2026 07:54:38 GMT", "Wed, 25 Nov 2026 07:54:39 GMT"),
        ("Tue Nov 24 07:54:38 UTC 2026", "Mon Jan  5 17:00:00 CET 2026"),
        ("Tue Nov 24 07:54:38 2026", "Wed Nov 25 07:54:38 2026"),
        ("11/24/2026, 7:54:38 AM", "1/2/2026, 12:00:00 PM"),
        ("Tuesday, November 24, 2026 at 7:54 PM", "Wednesday, May 6, 2026 at 11:00 AM"),
        ("20261124T075438Z", "20260101T000000Z"),
        ("now: 1732434878", "now: 1732434999"),
        ("now: 1732434878.25", "now: 1732434999"),
        ("now: 1732434878123", "now: 1732434999456"),
    ],
    "dates": [
        ("Today is 2026-11-24.", "Today is 2025-01-02."),
        ("2026/1/2", "2026/11/24"),
        ("24.11.2026", "11/24/2026"),
        ("Tuesday, November 24, 2026", "Wed, 3 Dec 2025"),
        ("Nov 24th 2026", "1st of May 2026"),
    ],
    "tmp-paths": [
        ("ls /tmp/tmpab12cd/out.txt", "ls /tmp/tmpzz99/out.txt"),
        ("saved /tmp/tmpab12cd.", "saved /var/tmp/x-1."),
        ("'/private/var/folders/ab/c1d2/T/tmp.x/a'", "'/var/folders/zz/e3f4/T/tmp.y/a'"),
        ("/tmp/pytest-of-ann/pytest-12/test_a0/f", "/tmp/pytest-of-bob/pytest-3/test_a0/f"),
        (r"C:\Users\Ann Lee\AppData\Local\Temp\tmp1\f", r"C:\Users\bob\AppData\Local\Temp\tmp2\f"),
        (
            r"{\"p\": \"C:\\Users\\a\\AppData\\Local\\Temp\\x1\"}",
            r"{\"p\": \"C:\\Users\\b\\AppData\\Local\\Temp\\x2\"}",
        ),
        ("file:///tmp/a /tmp/b /tmp/a", "file:///tmp/c /tmp/d /tmp/c"),
    ],
    r"s/build \d+/build/": [("build 12", "build 3456")],
    r"s/(a|b)-\d/\1/": [("a-1", "a-2")],
    r"s/\d{1\,3}\/x/n\/x/": [("12/x", "345/x")],
    r"s/x/y/,s/y+/z/": [("x", "yy")],
    "dates,timestamps": [("2026-11-24T07:54:38Z", "2025-01-02T03:04:05Z")],
}
DIFFERENT_TEXTS: dict[str, list[tuple[str, str]]] = {
    "uuids": [
        (f"keep {ONE}, drop {TWO}, keep {ONE}", f"keep {ONE}, drop {TWO}, keep {TWO}"),
        (f"a {ONE}", f"b {TWO}"),
        (ONE, ONE + "0"),
        (ONE.replace("-", ""), TWO.replace("-", "")),
    ],
    "timestamps": [
        ("2026-11-24", "2026-11-25"),
        ("take 12:30", "take 12:31"),
        ("id 17324348781", "id 17324348782"),
        ("0.1732434878", "0.1732434879"),
        ("$1732434878", "$1732434879"),
        ("v1.20.1732434878", "v1.20.1732434879"),
    ],
    "dates": [("version 1.20.3", "version 1.20.4"), ("10/11", "10/12"), ("May 6", "May 7"), ("3-4-5", "3-4-6")],
    "tmp-paths": [
        ("/home/ann/tmp/a", "/home/ann/tmp/b"),
        ("/tmp/a/one", "/tmp/a/two"),
        ("diff /tmp/a /tmp/a", "diff /tmp/a /tmp/b"),
        ("http://host/tmp/a", "http://host/tmp/b"),
        ("/tmpfs/a", "/tmpfs/b"),
    ],
    "s/X/y/": [("x", "y")],
}


def rows(table: dict[str, list[tuple[str, str]]]) -> list[Any]:
    return [pytest.param(rules, *pair, id=f"{rules} {pair[0]}") for rules, pairs in table.items() for pair in pairs]


def asking(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}


@pytest.mark.parametrize(("rules", "one", "other"), rows(EQUAL_TEXTS))
def test_texts_that_differ_only_in_what_moves_are_equal(rules: str, one: str, other: str) -> None:
    assert not are_equal("", asking(one), asking(other))
    assert are_equal(rules, asking(one), asking(other))


@pytest.mark.parametrize(("rules", "one", "other"), rows(DIFFERENT_TEXTS))
def test_texts_that_differ_in_anything_else_stay_different(rules: str, one: str, other: str) -> None:
    assert not are_equal(rules, asking(one), asking(other))


LEFT_ALONE = [
    ("dates", {"model": "gpt-4o-2024-08-06"}, {"model": "gpt-4o-2024-05-13"}),
    ("uuids", {"previous_response_id": f"resp_{ONE}"}, {"previous_response_id": f"resp_{TWO}"}),
    ("uuids", {"input": [{"file_id": ONE}]}, {"input": [{"file_id": TWO}]}),
    ("uuids", {"input": [{"image_url": f"https://h/{ONE}"}]}, {"input": [{"image_url": f"https://h/{TWO}"}]}),
    ("uuids", {"x": [{ONE: "a"}]}, {"x": [{TWO: "a"}]}),
    ("timestamps", {"x": 1732434878}, {"x": 1732434879}),
    ("tool-call-ids", {"input": [{"type": "item_reference", "id": "a"}]},
     {"input": [{"type": "item_reference", "id": "b"}]}),
    ("tool-call-ids", {"messages": [{"content": [{"type": "tool_use", "id": "a", "input": {"id": "1"}}]}]},
     {"messages": [{"content": [{"type": "tool_use", "id": "a", "input": {"id": "2"}}]}]}),
    ("tool-call-ids", {"contents": [{"parts": [{"functionCall": {"args": {"id": "1"}}}]}]},
     {"contents": [{"parts": [{"functionCall": {"args": {"id": "2"}}}]}]}),
    ("tool-call-ids", {"tools": [{"id": "1"}]}, {"tools": [{"id": "2"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "one", "other"), LEFT_ALONE)
def test_what_names_something_elsewhere_is_left_alone(rules: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not are_equal(rules, one, other)


def chat_calls(first: str, second: str, answered: str) -> dict[str, Any]:
    calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in (first, second)]
    results = [{"role": "tool", "tool_call_id": answered, "content": "1"}]
    return {"messages": [{"role": "assistant", "tool_calls": calls}, *results]}


def messages_calls(first: str, second: str, answered: str) -> dict[str, Any]:
    calls = [{"type": "tool_use", "id": id, "name": "f", "input": {}} for id in (first, second)]
    results = [{"type": "tool_result", "tool_use_id": answered, "content": "1"}]
    return {"messages": [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]}


def responses_calls(first: str, second: str, answered: str) -> dict[str, Any]:
    calls = [{"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": "f"} for id in (first, second)]
    return {"input": [*calls, {"type": "function_call_output", "call_id": answered, "output": "1"}]}


def computer_calls(first: str, second: str, answered: str) -> dict[str, Any]:
    checks = [[{"id": f"check {id}", "code": "c"}] for id in (first, answered)]
    calls = [{"type": "computer_call", "call_id": id, "pending_safety_checks": checks[0]} for id in (first, second)]
    output = {"type": "computer_call_output", "call_id": answered, "acknowledged_safety_checks": checks[1]}
    return {"input": [*calls, output]}


def gemini_calls(first: str, second: str, answered: str) -> dict[str, Any]:
    calls = [{"functionCall": {"id": id, "name": "f", "args": {}}} for id in (first, second)]
    result = {"functionResponse": {"id": answered, "name": "f", "response": {"n": 1}}}
    return {"contents": [{"role": "model", "parts": calls}, {"role": "user", "parts": [result]}]}


@pytest.mark.parametrize("calls", [chat_calls, messages_calls, responses_calls, computer_calls, gemini_calls])
def test_tool_call_ids_are_equal_when_they_join_the_same_calls_and_results(calls: Callable[..., Any]) -> None:
    assert not are_equal("", calls("a", "b", "a"), calls("c", "d", "c"))
    assert are_equal("tool-call-ids", calls("a", "b", "a"), calls("c", "d", "c"))
    assert are_equal("tool-call-ids", calls("a", "b", "b"), calls("b", "a", "a"))
    assert not are_equal("tool-call-ids", calls("a", "b", "a"), calls("c", "d", "d"))


def test_numbers_do_not_depend_on_the_order_of_members() -> None:
    one = {"input": [{"id": "x", "call_id": "y"}], "instructions": f"{ONE}"}
    other = {"instructions": f"{ONE}", "input": [{"call_id": "y", "id": "x"}]}
    assert are_equal("tool-call-ids,uuids", one | {"user": TWO}, {"user": TWO} | other)


# -- pictures


def picture(
    colour: str = "red", size: tuple[int, int] = (8, 6), mode: str = "RGB", kind: str = "PNG", **saved: Any
) -> str:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (scripts/setup dev)").new(
        mode, size, colour
    )
    file = io.BytesIO()
    image.save(file, kind, **saved)
    return base64.b64encode(file.getvalue()).decode()


def with_clock(clock: str) -> str:
    """A PNG that says when it was made."""
    info = pytest.importorskip("PIL.PngImagePlugin").PngInfo()
    info.add_text("Creation Time", clock)
    return picture(pnginfo=info)


def chat_image(data: str) -> dict[str, Any]:
    return {"messages": [{"content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]}]}


def responses_image(data: str) -> dict[str, Any]:
    return {"input": [{"content": [{"type": "input_image", "image_url": f"data:image/png;base64,{data}"}]}]}


def screenshot(data: str) -> dict[str, Any]:
    output = {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{data}"}
    return {"input": [{"type": "computer_call_output", "output": output}]}


def tool_image(data: str) -> dict[str, Any]:
    return {"input": [{"output": [{"type": "input_image", "image_url": f"data:image/png;base64,{data}"}]}]}


def messages_image(data: str) -> dict[str, Any]:
    return {"messages": [{"content": [{"type": "image", "source": {"type": "base64", "data": data}}]}]}


def tool_result_image(data: str) -> dict[str, Any]:
    return {"messages": [{"content": [{"type": "tool_result", **messages_image(data)["messages"][0]}]}]}


def gemini_image(data: str) -> dict[str, Any]:
    return {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}]}


def gemini_result_image(data: str) -> dict[str, Any]:
    return {"contents": [{"parts": [{"functionResponse": gemini_image(data)["contents"][0]}]}]}


IMAGE_PLACES = [
    *(chat_image, responses_image, screenshot, tool_image),
    *(messages_image, tool_result_image, gemini_image, gemini_result_image),
]


@pytest.mark.parametrize("place", IMAGE_PLACES)
def test_pictures_with_the_same_pixels_are_equal_in_every_place(place: Callable[[str], dict[str, Any]]) -> None:
    one, other = place(with_clock("07:54")), place(with_clock("07:55"))
    assert not are_equal("", one, other)
    assert are_equal("image-pixels", one, other)
    assert not are_equal("image-pixels", one, place(picture("blue")))


@pytest.mark.parametrize(
    ("other", "is_equal"),
    [
        pytest.param({"compress_level": 0}, True, id="compression"),
        pytest.param({"dpi": (300, 300)}, True, id="resolution"),
        pytest.param({"size": (6, 8)}, False, id="size"),
        pytest.param({"mode": "RGBA"}, False, id="mode"),
        pytest.param({"transparency": (255, 0, 0)}, False, id="transparent colour"),
        pytest.param({"kind": "BMP"}, True, id="another lossless format"),
    ],
)
def test_what_of_a_picture_counts(other: dict[str, Any], is_equal: bool) -> None:
    assert are_equal("image-pixels", gemini_image(picture()), gemini_image(picture(**other))) is is_equal


def test_a_palette_and_the_way_up_count() -> None:
    exif = pytest.importorskip("PIL.Image").Exif()
    exif[0x0112] = 6
    up, turned = picture(kind="JPEG"), picture(kind="JPEG", exif=exif)
    assert not are_equal("image-pixels", gemini_image(up), gemini_image(turned))
    red, blue = picture("red", mode="P"), picture("blue", mode="P")
    assert not are_equal("image-pixels", gemini_image(red), gemini_image(blue))


def undecodable() -> dict[str, str]:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (scripts/setup dev)")
    frames = [image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    moving = base64.b64encode(file.getvalue()).decode()
    bomb = picture("white", size=(5793, 5793), mode="1")
    half = picture(size=(64, 64))
    return {
        "moving": moving,
        "a bomb": bomb,
        "cut short": half[: len(half) // 8 * 4],
        "no picture": base64.b64encode(b"text").decode(),
        "no base64": "*" * 64,
        "nothing": "",
    }


def test_what_cannot_be_decoded_stays_as_it_is() -> None:
    apply = normalizers("image-pixels")[0].apply
    for name, data in undecodable().items():
        for _ in range(2):
            assert apply(formats.by_name("gemini"), gemini_image(data)) == gemini_image(data), name


# -- the setting


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uuid", "uuids, timestamps, dates"),
        ("s/a/b", "s/regex/text/"),
        ("s//b/", "s/regex/text/"),
        ("s/a/b/g", "s/regex/text/"),
        ("s/a,b/c/", r"write \/ and \,"),
        ("uuids,s/(/x/", "missing )"),
        ("s/a(?=b)/x/", "invalid perl operator"),
        (r"s/a/\1/", "invalid group reference"),
        ("s/(a)/\\q/", "bad escape"),
    ],
)
def test_a_bad_normaliser_stops_the_start_and_says_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=re.escape(told)) as found:
        Settings.load({"CACHE_NORMALIZE": text})
    assert str(found.value).startswith(f"CACHE_NORMALIZE (option cache_normalize): {text!r} is not allowed; give ")


def test_pictures_without_pillow_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SettingError, match=re.escape("pip install '.[images]'")):
        Settings.load({"CACHE_NORMALIZE": "image-pixels"})


def test_no_text_makes_a_rule_slow() -> None:
    """With backtracking this would take longer than the universe lasts."""
    assert canonical("s/(x+x+)+y/z/,s/(a*)*b/z/", asking("x" * 100_000 + "a" * 100_000))


def test_a_lone_surrogate_is_not_a_fault() -> None:
    body = asking(f"\ud800 {ONE}")
    assert canonical(",".join(set(NAMES) - {"image-pixels"}), body) == canonical_json.canonical(body)


# -- what is forwarded

MOVING = st.sampled_from(
    [
        "",
        "x",
        ONE,
        TWO,
        "2026-11-24T07:54:38Z",
        "Nov 24, 2026",
        "1732434878",
        "/tmp/tmpab/f",
        "call_1",
        "call_2",
        "\ud800",
    ]
)
TEXTS = st.lists(MOVING, max_size=3).map(" ".join)
NODES = st.recursive(
    TEXTS | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none(),
    lambda node: (
        st.lists(node, max_size=3) | st.dictionaries(TEXTS | st.sampled_from(["id", "call_id", "cache"]), node)
    ),
    max_leaves=8,
)
CALLS = st.builds(chat_calls, MOVING, MOVING, MOVING) | st.builds(messages_calls, MOVING, MOVING, MOVING)
BODIES = st.builds(
    lambda calls, more: more | calls | {"model": "m"}, CALLS, st.dictionaries(st.text(max_size=5), NODES)
)
EVERYTHING = ",".join((*(name for name in NAMES if name != "image-pixels"), r"s/x\b/y/"))


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = DiskStore(Path(tmp_path_factory.mktemp("normalize")), 2**24)
    yield [Cache(Settings.load({"CACHE_NORMALIZE": rules}), store, loopback=True) for rules in ("", EVERYTHING)]
    store.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_no_normaliser_changes_what_is_forwarded(caches: list[Cache], body: dict[str, Any]) -> None:
    request = Request("https://api.example/v1", "/chat/completions", (), {}, json.dumps(body).encode())
    plain, normalised = (cache.plan(request) for cache in caches)
    assert (plain.forward, plain.verdict) == (normalised.forward, normalised.verdict)
    assert canonical_json.canonical(plain.body) == canonical_json.canonical(normalised.body)


def test_a_request_that_no_normaliser_touches_keeps_its_key(caches: list[Cache]) -> None:
    request = Request("https://api.example/v1", "/chat/completions", (), {}, json.dumps(asking("hello")).encode())
    assert len({cache.plan(request).key for cache in caches}) == 1
