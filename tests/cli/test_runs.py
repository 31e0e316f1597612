"""`runs`, `show` and `diff`, on runs that were recorded without a proxy."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import commands
from computer_use_cache.cli import main
from computer_use_cache.runs.new_run import new_run
from credential_samples import token
from exchange.house import House, failure
from runs.chats import answering, calling, chats, recorded, said
from screenshots import coded, png, screen

type Told = Callable[..., str]

MADE_CALL = {"at": 1, "outcome": "MISS", "format": "chat_completions", "path": "/chat/completions"}


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    commands.isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    house = House(tmp_path / ".computer-use-cache")
    house.now = time.time()
    return house


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """What a command prints, and that it exits so."""

    def run(*words: str, exits: int = 0) -> str:
        assert main(words) == exits
        return capsys.readouterr().out

    return run


def nightly(house: House, *conversations: tuple[list[dict[str, Any]], Any], name: str = "nightly") -> str:
    """A run of these conversations with their answers; its id."""
    for messages, answer in conversations:
        chats(house, messages, {"x-cache-run": name}, answer)
    house.now += 60
    return next(run.id for run, _ in recorded(house) if run.name == name)


def test_the_list_says_what_each_run_did(house: House, told: Told) -> None:
    assert "No run is recorded yet" in told("runs")
    first = nightly(house, (said("Buy milk"), answering("Which?")), (said("Buy milk"), answering("Which?")))
    command = replace(new_run(("python", "agent.py"), house.now), status=3, parent=first)
    house.store.run_log.add_run(command)
    table = told("runs")
    assert re.search(rf"{command.id} .* python agent\.py \(replay of {first}\) .* 0 .* 3 ", table)
    assert re.search(rf"{first} .* nightly +2 +1 +1 ", table)
    assert "nightly" not in told("runs", "--limit", "1")
    listed = json.loads(told("runs", "--json"))
    assert [run["id"] for run in listed] == [command.id, first]
    assert (listed[0]["command"], listed[0]["status"], listed[0]["parent"]) == (["python", "agent.py"], 3, first)
    assert (listed[1]["calls"], listed[1]["hits"], listed[1]["misses"], listed[1]["saved_tokens"]) == (2, 1, 1, 7)


def test_a_run_is_shown_with_a_line_per_call(house: House, told: Told) -> None:
    click = calling("click", x=412, y=88)
    run = nightly(
        house,
        (said("Buy milk"), click),
        (said("Buy milk"), click),
        (said("Buy silk"), answering("Done")),
        (said("Buy milk", "Ok", "Go on"), failure(500)),
    )
    heading, counts, *lines = told("show").splitlines()
    assert heading.startswith(f"{run}  ")
    assert counts == "4 calls, 1 hit, 3 misses"
    assert re.fullmatch(r"\S+  MISS +gpt-test +1\.0 s .* \w{8}  step 1   click\(412, 88\)", lines[0])
    assert re.fullmatch(r"\S+  HIT +gpt-test +1\.0 s .* \w{8}  step 2   click\(412, 88\)", lines[1])
    assert re.search(r'step 3   "Done"  near \w{8} /messages/1/content @ char 4$', lines[2])
    assert lines[3].endswith("status 500")
    assert told("show", run[:9]) == told("show", "last")
    shown = json.loads(told("show", "last", "--json"))
    assert [step["did"] for step in shown["steps"]] == ["click(412, 88)"] * 2 + ['"Done"', ""]
    assert shown["steps"][2]["near_place"] == "/messages/1/content @ char 4"


def test_a_step_is_shown_with_its_news_its_answer_and_its_near_miss(house: House, told: Told) -> None:
    nightly(house, (said("Buy milk"), answering("Which?")), (said("Buy milk", "Which?", "Whole"), answering("Done")))
    nightly(house, (said("Buy silk"), answering("Sure")), name="other")
    second = told("show", "last~1", "2")
    assert "Asked since step 1\n+ user:\n+   Whole\n" in second
    assert "Answered\n  assistant:\n    Done\n" in second
    assert "You drive a browser." not in second
    missed = told("show", "last", "1")
    assert "/messages/1/content @ char 4" in missed
    assert re.search(r"\w{8}      Buy milk\n +this request  Buy silk\n", missed)
    shown = json.loads(told("show", "last", "1", "--json"))
    assert [item["text"] for item in shown["added"]] == ["You drive a browser.", "Buy silk"]
    assert [item["text"] for item in shown["answer"]] == ["Sure"]
    assert shown["near"]["differences"][0]["left"] == "Buy milk"


def test_runs_that_differ_only_in_values_that_move_are_the_same(house: House, told: Told) -> None:
    for run in range(2):
        at = f"It is 2026-11-27T10:0{run}:00Z."
        nightly(house, (said(at), answering("Ok")), (said(at, "Ok", "Go on"), answering("Done")), name=f"run {run}")
    assert "are the same" in told("diff", "last~1", "last")
    assert json.loads(told("diff", "last~1", "last", "--json"))["same"] is True


def test_the_step_where_two_runs_part_is_named_with_its_difference(house: House, told: Told) -> None:
    start = said("Buy milk"), calling("click", x=1, y=2)
    one = nightly(house, start, (said("Buy milk", "Ok", "Whole"), answering("Done")), name="one")
    other = nightly(house, start, (said("Buy milk", "Ok", "Skimmed"), answering("Done")), name="other")
    text = told("diff", "last~1", "last", exits=1)
    assert f"{one} and {other} diverge at step 2" in text
    assert "Asked:\n  /messages/3/content @ char 0\n" in text
    assert re.search(rf"{one} +Whole\n +{other} +Skimmed\n", text)
    assert "Answered" not in text
    nightly(house, start, name="short")
    assert "ends after step 1" in told("diff", other, "last", exits=1)
    house.store.clear()
    nightly(house, start, name="one")
    nightly(house, (said("Buy  milk"), calling("click", x=1, y=3)), name="other")
    found = json.loads(told("diff", "last~1", "last", "--json", exits=1))
    assert (found["step"], found["ended"]) == (1, None)
    assert found["answered"]["differences"] == [
        {"path": "answer/0/arguments/y", "at": None, "left": "2", "right": "3", "picture": ""}
    ]


def test_pictures_are_compared_by_their_pixels(house: House, told: Told) -> None:
    for number, clock in enumerate(("10:00", "10:01")):
        shot = f"data:image/png;base64,{coded(png(screen(clock=clock)))}"
        seen = [{"type": "image_url", "image_url": {"url": shot}}]
        nightly(house, ([{"role": "user", "content": seen}], answering("Ok")), name=f"run {number}")
    assert "pixels differ in" in told("diff", "last~1", "last", exits=1)
    [picture] = json.loads(told("diff", "last~1", "last", "--json", exits=1))["asked"]["pictures"]
    assert 0 < picture["share"] < 0.5
    assert picture["boxes"]
    assert picture["left"] != picture["right"]


@pytest.mark.parametrize("words", [("show", "nosuch"), ("show", "last", "9"), ("diff", "last", "nosuch")])
def test_missing_things_are_usage_errors(house: House, told: Told, words: tuple[str, ...]) -> None:
    nightly(house, (said("Buy milk"), answering("Which?")))
    assert told(*words, exits=2) == ""


def test_no_command_shows_a_credential(house: House, told: Told) -> None:
    secret = token("1a2B")
    nightly(house, (said(f"Use {secret}"), answering(f"I use {secret}")))
    for words in (("runs",), ("show",), ("show", "last", "1"), ("runs", "--json"), ("show", "last", "1", "--json")):
        assert secret not in told(*words)


def test_a_run_is_exported_with_its_entries_and_imported_again(
    house: House, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly(house, (said("Buy milk"), answering("Which?")), (said("Buy milk"), answering("Which?")))
    other = nightly(house, (said("Buy bread"), answering("Sure")), name="other")
    assert told("export", "one.jsonl", "--run", "last~1") == "Exported 1 entry and 1 run to one.jsonl.\n"
    assert told("export", "all.jsonl") == "Exported 2 entries and 2 runs to all.jsonl.\n"
    assert told("export", "part.jsonl", "--model", "gpt-test") == "Exported 2 entries to part.jsonl.\n"
    shown = [told(*words) for words in (("show", "last~1"), ("show", "last~1", "1"), ("runs", "--json"))]
    monkeypatch.setenv("CACHE_DIR", "elsewhere")
    assert told("import", "one.jsonl") == "Imported 1 entry and 1 run into elsewhere.\n"
    assert told("import", "all.jsonl").startswith("Imported 1 entry and 1 run into elsewhere.\nSkipped 2: stored al")
    again = [told(*words) for words in (("show", "last~1"), ("show", "last~1", "1"), ("runs", "--json"))]
    assert [text.replace('"imported": true', '"imported": false') for text in again] == shown
    assert told("clear", "--run", other[:9]) == f"Removed the run {other} from elsewhere.\n"
    assert [run["name"] for run in json.loads(told("runs", "--json"))] == ["nightly"]
    assert told("clear", "--run", "last", "--model", "m", exits=2) == ""
    assert told("clear", "--run", other, exits=2) == ""
    assert told("clear") == "Removed 2 entries from elsewhere.\n"
    assert told("runs", "--json") == "[]\n"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"run": {"name": 1}}, "the run is malformed"),
        ({"run": {"id": "../x"}}, "the run's id or its parent's is malformed"),
        ({"run": {"parent": "\x1b[2J"}}, "the run's id or its parent's is malformed"),
        ({"run": {"command": ["tr\0ue"]}}, "the run's command cannot be run"),
        ({"run": {"folder": "\ud800"}}, "the run's command cannot be run"),
        ({"run": {"status": 10**30}}, "a number of the run is out of range"),
        ({"calls": [MADE_CALL | {"rebound": 10**30}]}, "a number of the run is out of range"),
        ({"calls": [MADE_CALL | {"asked": "../x"}]}, "a key of the run is malformed"),
        ({"run": {"began": -1, "ended": 1e300}}, "a time of the run is malformed"),
        ({"calls": [{"at": 1}]}, "the run is malformed"),
        ({"run": {"name": token("1a2B")}}, "run holds a credential"),
    ],
)
def test_a_line_of_a_run_that_this_cache_would_not_write_is_refused(
    house: House, told: Told, change: dict[str, Any], why: str
) -> None:
    assert why in told("import", exported(change.get("run", {}), change.get("calls", [])))
    assert told("runs", "--json") == "[]\n"


def test_what_an_imported_run_says_does_not_reach_the_terminal_as_it_is(house: House, told: Told) -> None:
    told("import", exported({"name": "\x1b[2J"}, [MADE_CALL | {"path": "/\x1b[2J", "model": "\x1b[2J"}]))
    for words in (("runs",), ("show",), ("show", "last", "1"), ("show", "\udcff")):
        assert "\x1b" not in told(*words, exits=2 if "\udcff" in words else 0)


def test_the_command_of_an_imported_run_waits_for_consent(
    house: House, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {"command": ["touch", "ran"], "folder": str(Path.cwd()), "flags": {"samples": "ordered"}, "parent": "a"}
    told("import", exported(sources, []))
    for command in (("replay",), ("replay", "a"), ("fork", "--from", "1")):
        assert main(command) == 1
        assert "--yes runs its command: touch ran (with samples=ordered)" in capsys.readouterr().err
    assert not Path("ran").exists()


def exported(run: dict[str, Any], calls: list[dict[str, Any]]) -> str:
    """The path of an export that was edited: it has one run."""
    line = {"run": {"id": "a", "name": "n", "began": 1, "ended": 2} | run, "calls": calls}
    lines = (json.dumps(each) + "\n" for each in ({"computer_use_cache_export": 1}, line))
    Path("edited.jsonl").write_text("".join(lines))
    return "edited.jsonl"
