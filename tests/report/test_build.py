"""What a page holds, from the calls of a run in a store."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

from computer_use_cache.models import Outcome
from computer_use_cache.report import render
from computer_use_cache.report.build import build
from computer_use_cache.report.views import Form, Mark, Page, Picture, Piece, Step
from computer_use_cache.run_models import Call, Run
from computer_use_cache.store.disk import DiskStore
from report import made_runs, shop


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    opened = DiskStore(tmp_path / "store", 2**28)
    yield opened
    opened.close()


def steps(page: Page) -> list[Step]:
    return [step for row in page.rows for step in row.steps if step]


def html(page: Page) -> str:
    file = io.BytesIO()
    render.write(page, file)
    return file.getvalue().decode()


def marked(pieces: Any) -> list[str]:
    return [piece.text for piece in pieces if isinstance(piece, Piece) and piece.mark is Mark.DIFFERENT]


def said(*texts: str, instructions: str = "Be brief.", **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request with these messages, and an answer."""
    body = {"model": "m", "instructions": instructions, "input": [{"role": "user", "content": text} for text in texts]}
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
    return body | more, {"id": "r", "status": "completed", "output": [message], "usage": None}


def test_a_run_of_a_browser_agent(store: DiskStore) -> None:
    first = made_runs.add_run(store, "first", made_runs.order("14:00"))
    second = made_runs.add_run(store, "second", made_runs.order("15:00"), folder="/srv/shop")

    page = build(store, [second])
    [run], shown = page.runs, steps(page)
    assert [step.outcome for step in shown] == [Outcome.HIT] * 6 + [Outcome.MISS] * 4
    assert {label: value for label, value, _ in run.totals} | {"Calls": "10", "Hits": "6"} == {
        label: value for label, value, _ in run.totals
    }
    assert "exit status 0" in run.facts
    assert "/srv/shop" in run.facts

    opening = shown[0]
    assert opening.caption == "click(560, 36)"
    assert [item.text for item in opening.new] == [made_runs.INSTRUCTIONS, made_runs.TASK]
    assert [item.kind for item in opening.answer] == ["thinking", "tool call"]
    assert opening.screen
    assert [(shape.form, shape.points) for shape in opening.screen.shapes] == [(Form.CLICK, ((560, 36),))]
    assert "click(560, 36), 1280 x 800 pixels" in opening.screen.alt
    assert shown[1].screen
    assert shown[1].screen.keys == "oat milk"
    assert all(step.new == () for step in shown[1:]), "the screenshot is at the top of its step, and is all that is new"
    assert shown[9].caption.startswith("Two packs of barista oat milk")

    near = shown[6].near
    assert near
    assert near.title == "Near miss: first differs at /input/18/output/image_url"
    assert near.cure.startswith("CACHE_IMAGE_MASK=1280x800:")
    [change] = near.changes
    assert re.fullmatch(r"0\.\d\d% of the pixels differ, in 3 places", change.note)
    for side in (change.left, change.right):
        assert isinstance(side, Picture)
        assert [shape.form for shape in side.shapes] == [Form.BOX] * 3
    distinct = {shop.png(screen) for slot in ("14:00", "15:00") for _, _, screen in shop.order(slot)}
    assert {data for _, data in page.media.values()} <= distinct
    assert len(page.media) == len(distinct), "each picture once"

    both = build(store, [first, second])
    assert both.diverges_at == 7
    assert [bool(row.difference) for row in both.rows] == [False] * 6 + [True, True, False, False]
    assert [row.is_miss for row in both.rows] == [True] * 10
    difference = both.rows[7].difference
    assert difference
    assert (marked(difference.changes[1].left), marked(difference.changes[1].right)) == (["640"], ["730"])


def test_a_miss_shows_both_sides_with_the_words_marked(store: DiskStore) -> None:
    made_runs.add_run(store, "old", [said("What is due on Monday?", temperature=0.5)])
    run = made_runs.add_run(store, "new", [said("What is due on Tuesday?", temperature=0.7)])
    [step] = steps(build(store, [run]))
    assert step.near
    temperature, question = step.near.changes
    assert (temperature.place, marked(temperature.left), marked(temperature.right)) == ("temperature", ["5"], ["7"])
    assert (question.place, marked(question.left), marked(question.right)) == (
        "[0] user · text",
        ["Monday"],
        ["Tuesday"],
    )


def test_the_time_does_not_part_two_runs(store: DiskStore) -> None:
    runs = [
        made_runs.add_run(store, word, [said(f"It is 2026-11-2{day}T10:00:00Z."), said("Buy milk", word)])
        for day, word in enumerate(("whole", "skimmed"))
    ]
    page = build(store, runs)
    assert [bool(row.difference) for row in page.rows] == [True, True], "it is shown"
    assert page.diverges_at == 2


def test_a_step_shows_what_changed_and_what_was_cut(store: DiskStore) -> None:
    run = made_runs.add_run(store, "run", [said("one", "two", "three"), said("one", "2")])
    _, step = steps(build(store, [run]))
    assert step.changed
    assert marked(step.changed.changes[0].right) == ["2"]
    assert [item.text for item in step.cut] == ["three"]


def test_a_rebound_hit_says_whose_texts_are_shown(store: DiskStore) -> None:
    run = made_runs.add_run(store, "old", [said("Write to /tmp/a.")])
    [call] = store.run_log.calls("old")
    store.run_log.add_calls("old", [structs.replace(call, outcome=Outcome.HIT, asked="another", rebound=2)])
    recorded, rebound = steps(build(store, [run]))
    assert ("Rebound", "2 values") in rebound.facts
    assert (recorded.note[:12], rebound.note[:14]) == ("Nothing like", "A rebound hit:")


def test_a_call_whose_texts_are_not_stored_is_shown_all_the_same(store: DiskStore) -> None:
    run = Run(id="run", name="agent", began=made_runs.NOW, ended=made_runs.NOW)
    calls = [
        Call(at=made_runs.NOW, outcome=Outcome.BYPASS, format="responses", path="/responses", reason="X-Cache-Bypass"),
        Call(at=made_runs.NOW, outcome=Outcome.MISS, format="responses", path="/responses", key="gone", near_key="too"),
    ]
    store.run_log.add_run(run)
    store.run_log.add_calls("run", calls)
    bypassed, gone = steps(build(store, [run]))
    assert (bypassed.caption, bypassed.note) == ("/responses", "X-Cache-Bypass")
    assert gone.note == "The store no longer has this request and its answer."
    assert (gone.near, gone.screen, gone.answer) == (None, None, ())
    assert html(build(store, [run]))


def test_a_near_miss_whose_recorded_body_is_damaged_is_shown(store: DiskStore) -> None:
    run = made_runs.add_run(store, "run", [said("one")])
    [call] = store.run_log.calls("run")
    recorded = store.request(call.key)
    assert recorded
    store.put_request("f" * 64, dataclasses.replace(recorded, body=b"--form"))
    store.run_log.add_calls("run", [structs.replace(call, near_key="f" * 64, near_place="/input")])
    *_, step = steps(build(store, [run]))
    assert step.near


def test_pictures_can_be_left_out_and_texts_redacted(store: DiskStore) -> None:
    run = made_runs.add_run(store, "run", made_runs.order("14:00"), name="order.py --customer ACME-77")
    page = build(store, [run], with_media=False, redact=[re.compile("oat milk"), re.compile(r"ACME-\d+")])
    text = html(page)
    assert page.media == {}
    assert "not in this page" in text
    assert "barista oat milk" not in text
    assert "barista &lt;redacted&gt;" in text
    assert "ACME-77" not in text
    assert steps(page)[1].screen
    assert "type(&#34;&lt;redacted&gt;&#34;)" in text


def test_the_address_of_a_picture_is_a_text_too(store: DiskStore) -> None:
    asked, answer = said("Look:")
    asked["input"].append(
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://cdn.example/ACME-77/screen.png"}]}
    )
    run = made_runs.add_run(store, "run", [(asked, answer)])
    text = html(build(store, [run], redact=[re.compile("ACME-77")]))
    assert "https://cdn.example/&lt;redacted&gt;/screen.png" in text
    assert "ACME-77" not in text


def test_no_credential_is_in_a_page(store: DiskStore) -> None:
    secret = "sk-" + "proj-" + "Zk3xW9qLm2Vt7Bn4Rj8Yc5Hd6Pf1Gs0"
    run = made_runs.add_run(store, "run", [said("hello", instructions="Be brief.")], name=f"agent --token {secret}")
    calls = [structs.replace(call, reason=f"refused: bearer {secret}") for call in store.run_log.calls("run")]
    store.run_log.add_run(Run(id="other", name=f"agent --api-key {secret}", began=run.began, ended=run.ended))
    store.run_log.add_calls("other", calls)
    for id in ("run", "other"):
        found = store.run_log.run(id)
        assert found
        assert secret not in html(build(store, [found]))


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "]]></pre></details>",
    "\ud800 lone",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_agents_send_becomes_neither_markup_nor_script(store: DiskStore, text: str) -> None:
    runs = []
    for id, each in (("plain", "harmless"), ("hostile", text)):
        asked, answer = said("hello", each, instructions=each, tools=[{"type": "function", "name": each}])
        asked["input"].append({"role": "user", "content": [{"type": "input_image", "image_url": each}]})
        answer["output"] += [{"type": "function_call", "name": each, "call_id": "c", "arguments": each}]
        answer["output"] += [{"type": "reasoning", "summary": [{"type": "summary_text", "text": each}]}]
        runs.append(made_runs.add_run(store, id, [(asked, answer)], name=each, folder=each))
    plain, run = runs
    before, after = Tags(), Tags()
    before.feed(html(build(store, [plain])))
    after.feed(html(build(store, [run])))
    assert not {tag for tag, _ in after.seen} - {tag for tag, _ in before.seen} - {"code", "mark"}
    assert not [name for _, attributes in after.seen for name in attributes if name.startswith("on")]
    assert [tag for tag, _ in after.seen].count("script") == 1


def test_data_that_is_not_a_picture_is_not_embedded(store: DiskStore) -> None:
    data = "A" * 3000
    steps_ = [("Look", {"type": "click", "x": 1, "y": 2}, data)]
    run = made_runs.add_run(store, "run", made_runs.conversation(steps_))
    page = build(store, [run])
    assert page.media == {}
    assert "data-media" not in html(page).partition("<script>")[0]


def test_the_page_loads_nothing(store: DiskStore) -> None:
    run = made_runs.add_run(store, "run", [said("See https://elsewhere.example/a.png")])
    tags = Tags()
    tags.feed(html(build(store, [run])))
    loaded = [attributes.get(name) for _, attributes in tags.seen for name in ("src", "href", "action", "srcset")]
    assert [each for each in loaded if each and not each.startswith("#")] == []
    [policy] = [attributes["content"] for _, attributes in tags.seen if "http-equiv" in attributes]
    assert policy
    assert policy.startswith("default-src 'none'; img-src blob:; style-src 'sha256-")
