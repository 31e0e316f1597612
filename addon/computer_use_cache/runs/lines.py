"""A call in one line, for a log and for lists: when, how it ended, what it cost, and what the model did."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from computer_use_cache.formats.item import Item, Kind, as_json_text
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call
from computer_use_cache.units import dollars, duration

_LONGEST = 60
COLOURS = {
    Outcome.HIT: "green",
    Outcome.STALE: "yellow",
    Outcome.COALESCED: "green",
    Outcome.MISS: "yellow",
    Outcome.BYPASS: "dim",
    Outcome.REFUSED: "red",
}
"""The colour of each outcome, by rich's name."""


class Line(NamedTuple):
    """The parts of the line, as texts. `what` is what the model did, and why the store did not answer."""

    when: str
    outcome: str
    model: str
    took: str
    money: str
    key: str
    step: str
    what: str

    def __str__(self) -> str:
        return (
            f"{self.when}  {self.outcome:<9}  {self.model}  {self.took:>7}  {self.money:<13}  {self.key:<8}  "
            f"{self.step:<7}  {self.what}"
        ).rstrip()


def line(call: Call, number: int | None, did: str = "") -> Line:
    """The line of a call. `number` is its step, None if its run is full; `did` is what the model did."""
    return Line(
        time.strftime("%H:%M:%S", time.localtime(call.at)),
        str(call.outcome),
        printable(call.model),
        duration(call.seconds),
        money(call),
        (call.key or call.asked)[:8],
        "" if number is None else f"step {number}",
        printable("  ".join(filter(None, (did, why(call))))),
    )


def money(call: Call) -> str:
    """What a call saved or spent."""
    if call.cost.usd is None:
        return "price unknown"
    book = "saved" if call.outcome.saves else "spent"
    return f"{book} {dollars(call.cost.usd)}" if call.cost.usd else ""


def why(call: Call) -> str:
    """What explains a call: the values replaced in its answer, the nearest request, and why it was bypassed or not
    stored."""
    near = f"near {call.near_key[:8]} {call.near_place}" if call.near_key else ""
    status = f"status {call.status}" if call.status != 200 and "status" not in call.reason else ""
    rebound = f"rebound {call.rebound}" if call.rebound else ""
    return "  ".join(filter(None, (rebound, near, status, call.reason)))


def summarize(answer: Iterable[Item]) -> str:
    """What the model did, in short: its first action on the screen, else its first tool call, else its first words."""
    items = list(answer)
    for item in items:
        for action in item.actions:
            return str(action)
    for kind in (Kind.CALL, Kind.TEXT, Kind.REFUSAL):
        for item in items:
            if item.kind is kind:
                return f"{item.name}({_cut(_arguments(item))})" if kind is Kind.CALL else f'"{_cut(item.text)}"'
    return ""


def _arguments(call: Item) -> str:
    if isinstance(call.arguments, dict):
        return ", ".join(value if isinstance(value, str) else as_json_text(value) for value in call.arguments.values())
    return call.text


def _cut(text: str) -> str:
    words = " ".join(text[: 4 * _LONGEST].split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}\u2026"


def printable(text: str) -> str:
    """A text from outside, fit for one line of a terminal: line breaks and the like as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
