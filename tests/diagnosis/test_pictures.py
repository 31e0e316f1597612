"""Pictures that differ are told by what they show, and a clock or a text cursor by the setting that would help."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

from PIL import Image, ImageChops

from commands import isolate
from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cli import main
from computer_use_cache.diagnosis import causes, miss_log, near_miss
from computer_use_cache.diagnosis.cures import FOLLOWS
from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.exchange.decide import Decider
from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.flights.flight import Flights
from computer_use_cache.formats.base import Json
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.store.disk import DiskStore
from screenshots import SIZE, coded, png, scaled, screen

NOW = 2_000_000_000.0
RED, BLUE = (224, 0, 0), (0, 96, 224)
"""What `explain --mask` draws around what differs, and around what a mask hides."""
TASK = {"role": "user", "content": [{"type": "input_text", "text": "Order the express delivery for Ada Lovelace."}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = DiskStore(tmp_path / "store", 2**30)
    yield store
    store.close()


def body(*screens: bytes, run: str = "1", chained: bool = False, task: Any = TASK) -> Json:
    """A Responses request of a computer-use loop, with call ids and a chain that every run names anew."""
    items: list[Json] = []
    for step, file in enumerate(screens):
        call = {"type": "computer_call", "id": f"cu_{run}{step}", "call_id": f"call_{run}{step}", "status": "completed"}
        output = {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{coded(file)}"}
        items += [call, {"type": "computer_call_output", "call_id": f"call_{run}{step}", "output": output}]
    if chained:
        return {"model": "m", "input": items[-1:], "previous_response_id": f"resp_{run}"}
    return {"model": "m", "input": [task, *items]}


def request(sent: Json) -> Request:
    return Request("https://a.test/v1", "/responses", (), {}, json.dumps(sent).encode())


def keep(cache: Cache, sent: Json) -> None:
    plan = rebound.with_template(cache, rebound.prepare(cache, cache.plan(request(sent))))
    part = {"type": "output_text", "text": "Done.", "annotations": []}
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    whole = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}
    answer = Response(200, {"content-type": "application/json"}, json.dumps(whole).encode(), 1.0)
    entry = cache.judge(plan, answer, NOW)
    assert isinstance(entry, Entry), entry
    cache.keep(entry, NOW, record(cache, plan))


def near(cache: Cache, sent: Json) -> Near:
    plan = rebound.prepare(cache, cache.plan(request(sent)))
    found = near_miss.study(cache, plan).near
    assert found is not None
    near_miss.log_miss(cache, plan, found, NOW)
    return found


def is_hit(store: Store, sent: Json, settings: dict[str, str]) -> bool:
    cache = Cache(Settings.load(settings), store, loopback=True)
    decision, _ = Decider(cache, Flights()).decide(cache.plan(request(sent)), NOW)
    return isinstance(decision, Serve)


CLOCKS = [png(screen(clock=time)) for time in ("9:41:07 AM", "9:41:58 AM", "9:42:31 AM")]
CARET = png(screen(caret=True))


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("moved", [CLOCKS[1], CARET, png(screen(clock="9:41:58 AM", caret=True))])
def test_the_suggested_setting_makes_a_hit(store: Store, moved: bytes, chained: bool) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)
    one, other = (body(file, chained=chained) for file in (CLOCKS[0], moved))
    keep(cache, one)
    found = near(cache, other)
    assert found.cure.settings
    assert is_hit(store, other, found.cure.settings)
    assert not is_hit(store, other, {})
    assert not is_hit(store, body(png(screen(price="9.80")), chained=chained), found.cure.settings)


def test_a_mask_holds_for_files_that_tell_when_they_were_made(store: Store) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)
    one, other = (body(png(screen(clock=time), texts={"date": time})) for time in ("9:41:07 AM", "9:41:58 AM"))
    keep(cache, one)
    assert is_hit(store, other, near(cache, other).cure.settings)


def test_a_mask_is_suggested_beside_what_rebinding_takes_care_of(store: Store) -> None:
    """A fraction, such as a temperature, is compared by value."""
    cache = Cache(Settings.load({"CACHE_REBIND": "on"}), store, loopback=True)
    one, other = (
        body(clock, task={"role": "user", "content": f"Order it. PGID: {number}"})
        | {"temperature": 0.2, "store": False}
        for clock, number in zip(CLOCKS, ("28358", "31172"), strict=False)
    )
    keep(cache, one)
    settings = near(cache, other).cure.settings
    assert list(settings) == ["CACHE_IMAGE_MASK"]
    assert is_hit(store, other, {"CACHE_REBIND": "on"} | settings)


def test_where_each_step_sends_its_screen_alone_it_is_compared_with_the_same_step(store: Store) -> None:
    names = ("", "A", "Ad", "Ada", "Ada L", "Ada Lo", "Ada Lov")
    first, second = (Cache(Settings.load({}), store, loopback=True) for _ in range(2))
    for name in names:
        keep(first, body(png(screen(clock="9:41:07 AM", name=name))))
    suggested = set()
    for name in names:
        asked = body(png(screen(clock="9:41:58 AM", name=name)))
        suggested.add(near(second, asked).cure.mask)
        keep(second, asked)
    [mask] = suggested
    assert is_hit(store, body(png(screen(clock="9:42:31 AM", name="Ada"))), {"CACHE_IMAGE_MASK": mask})
    assert not is_hit(store, body(png(screen(clock="9:42:31 AM", name="Bob"))), {"CACHE_IMAGE_MASK": mask})


def test_an_earlier_miss_does_not_matter_unless_it_began_another_chain(store: Store) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)
    keep(cache, body(CLOCKS[0], CLOCKS[0]))
    keep(cache, body(CLOCKS[0], chained=True))
    assert "CACHE_IMAGE_MASK" in near(cache, body(CLOCKS[0], CLOCKS[1], run="2")).cure.settings
    assert "CACHE_IMAGE_MASK" in near(cache, body(CLOCKS[1], chained=True)).cure.settings
    in_another_chain = near(cache, body(CLOCKS[1], run="2", chained=True)).cure
    assert not in_another_chain
    assert in_another_chain.reason == FOLLOWS
    near(cache, body(CLOCKS[2], run="3", chained=True))
    groups = causes.grouped(causes.for_all(miss_log.near_misses(store, 0), store, ()))
    assert [(group["misses"], group["uncured"], group["pictures"] != "") for group in groups] == [
        (2, FOLLOWS, False),
        (2, "", True),
    ]


def test_a_difference_is_described_by_size_share_and_box(store: Store) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)
    keep(cache, body(CLOCKS[0]))
    [first, *_] = near(cache, body(CLOCKS[1])).differences
    assert (first.asked, first.recorded, first.at) == ("<picture 640x480>", "<picture 640x480>", None)
    assert " of 307,200 pixels differ in 5" in str(first)
    assert "iVBOR" not in str(first)
    assert first.path == "/input/2/output/image_url"


def test_the_same_picture_in_another_file_is_not_a_difference(store: Store) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)
    other_file = png(screen(), texts={"Title": "taken later"})
    keep(cache, body(png(screen()), CLOCKS[0]))
    found = near(cache, body(other_file, CLOCKS[1]))
    assert [one.path for one in found.differences] == ["/input/4/output/image_url"]
    assert len(found.pairs) == 1


@pytest.mark.parametrize(
    "other",
    [
        body(png(Image.new("RGB", SIZE, "navy"))),
        body(png(scaled(screen()))),
        body(CARET, task={"role": "user", "content": "Order it on Friday."}),
        body(png(screen(bar=21)), task={"role": "user", "content": "Order it on 2026-11-27."}),
    ],
    ids=["another page", "another size", "a cursor and other words", "a letter and another date"],
)
def test_no_setting_is_suggested_for_another_screen_or_a_typed_letter(store: Store, other: Json) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)
    keep(cache, body(png(screen()), task={"role": "user", "content": "Order it on 2026-11-26."}))
    assert near(cache, other).cure.settings == {}


def test_misses_are_grouped_with_one_setting_for_all(store: Store) -> None:
    cache = Cache(Settings.load({}), store, loopback=True)
    for steps in (1, 2, 3):
        keep(cache, body(*[CLOCKS[0]] * steps))
    for steps in (1, 2, 3):
        near(cache, body(*(CLOCKS[1], CLOCKS[2], CLOCKS[1])[:steps]))
    misses = causes.for_all(miss_log.near_misses(store, 0), store, ())
    [group] = causes.grouped(misses)
    assert group["misses"] == 3
    assert " pixels differ in " in group["pictures"]
    assert group["pictures"].endswith("in 3 misses of 1 run; 2 pictures differ, 2 misses follow from the first")
    for steps in (1, 2):
        assert is_hit(store, body(*CLOCKS[1 : 1 + steps]), group["settings"])


@pytest.fixture
def command_line(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run with the store, which has an answer to the first clock."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("UPSTREAM_BASE_URL", "https://a.test/v1")
    keep(Cache(Settings.load({}), store, loopback=True), body(CLOCKS[0]))


@pytest.mark.usefixtures("command_line")
def test_explain_draws_what_differs_and_what_the_suggested_mask_hides() -> None:
    Path("asked.json").write_text(json.dumps(body(CLOCKS[1])))
    assert main(["explain", "asked.json", "--mask", "drawn.png"]) == 0
    with Image.open("drawn.png") as drawn, Image.open(io.BytesIO(CLOCKS[1])) as asked:
        colours = drawn.getcolors(SIZE[0] * SIZE[1])
        changed = ImageChops.difference(drawn, asked.convert("RGB")).getbbox()
    assert {RED, BLUE} <= {colour for _, colour in colours or ()}
    assert changed is not None
    assert changed[0] > SIZE[0] / 2
    assert changed[3] < 60, "more than the clock's corner was drawn on"


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("other", [body(CLOCKS[0], task="Cancel it."), {"model": "m", "input": "Cancel it."}])
def test_explain_says_that_there_is_nothing_to_draw(other: Json, capsys: pytest.CaptureFixture[str]) -> None:
    Path("asked.json").write_text(json.dumps(other))
    assert main(["explain", "asked.json", "--mask", "drawn.png"]) == 0
    assert "Nothing was drawn into drawn.png" in capsys.readouterr().err
    assert not Path("drawn.png").exists()
