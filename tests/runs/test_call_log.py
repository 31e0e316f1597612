"""The line per call that a proxy prints while it works."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path

import pytest

from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.run_models import LineStyle
from computer_use_cache.runs.call_log import CallLog
from computer_use_cache.runs.recorder import MOST_PENDING
from exchange.house import House
from runs.chats import answering, calling, chats, recorded, said

RUN = {"x-cache-run": "nightly"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "store")


def printed(house: House, style: LineStyle) -> list[str]:
    """The lines for a miss, a hit and a near miss."""
    out = io.StringIO()
    log = CallLog(house.store, style, out)
    house.shared = Shared(house.cache, house.shared.ledger, house.shared.run, call_log=log)
    for text, answer in (("Buy milk", calling("click", x=412, y=88)), ("Buy milk", None), ("Buy silk", None)):
        chats(house, said(text), RUN, answer or answering("Done"))
        house.shared.flush(house.now)
    return out.getvalue().splitlines()


def test_a_line_says_when_how_what_it_cost_and_what_the_model_did(house: House) -> None:
    miss, hit, near = printed(house, LineStyle.PLAIN)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  MISS       gpt-test    1\.0 s  .* \w{8}  step 1   click\(412, 88\)", miss)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  HIT        gpt-test    1\.0 s  .* \w{8}  step 2   click\(412, 88\)", hit)
    assert re.search(r'  step 3   "Done"  near \w{8} /messages/1/content @ char 4$', near)


def test_lines_are_coloured_for_people_and_json_for_machines(house: House, tmp_path: Path) -> None:
    miss, hit, _ = printed(house, LineStyle.COLOUR)
    assert "\x1b[33mMISS\x1b[0m" in miss
    assert "\x1b[32mHIT\x1b[0m" in hit
    other = House(tmp_path / "other")
    first = json.loads(printed(other, LineStyle.JSON)[0])
    [run] = other.store.run_log.runs(9)
    assert (first["run"], first["step"], first["outcome"], first["did"]) == (run.id, 1, "MISS", "click(412, 88)")
    assert printed(House(tmp_path / "third"), LineStyle.NONE) == []


def test_a_flood_is_a_hundred_lines_and_one_that_counts_the_rest(house: House) -> None:
    out = io.StringIO()
    log = CallLog(house.store, LineStyle.PLAIN, out)
    house.shared = Shared(house.cache, house.shared.ledger, house.shared.run, call_log=log)
    chats(house, said("Buy milk"), RUN)
    plan, serve = house.asks(RUN, messages=said("Buy milk")).plan, Serve(next(house.store.entries()), ())
    for _ in range(MOST_PENDING + 4):
        house.shared.conclude_hit(plan, serve, house.now)
    house.shared.flush(house.now)
    lines = out.getvalue().splitlines()
    assert len(lines) == 101
    assert lines[-1] == "and 1,905 more calls"


def test_a_reader_that_has_left_stops_the_lines_and_nothing_else(house: House) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "w", encoding="utf-8") as out:  # closing it fails, too
        log = CallLog(house.store, LineStyle.PLAIN, out)
        house.shared = Shared(house.cache, house.shared.ledger, house.shared.run, call_log=log)
        for _ in range(2):
            chats(house, said("Buy milk"), RUN)
            house.shared.flush(house.now)
    assert [len(calls) for _, calls in recorded(house)] == [2]
