"""Measured figures with their goals, shown as a table, as JSON and as pictures."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from rich.table import Table

_COLOURS = {"reached": "#2e7d32", "missed": "#c62828", "skipped": "#9e9e9e", "": "#546e7a"}


@dataclass(frozen=True)
class Figure:
    """One row. `goal` is a text such as ">= 6" or "<= 1.3", or "".

    `value` is None if it was skipped. `detail` says why, or what the value was computed from.
    """

    name: str
    value: float | None
    unit: str = "x"
    goal: str = ""
    detail: str = ""

    @property
    def verdict(self) -> str:
        """reached, missed, skipped, or "" without a goal."""
        if self.value is None:
            return "skipped"
        if not self.goal:
            return ""
        sign, limit = self.goal.split()
        return "reached" if (self.value >= float(limit) if sign == ">=" else self.value <= float(limit)) else "missed"

    @property
    def shown(self) -> str:
        """The value as text."""
        return "-" if self.value is None else f"{self.value:.3g} {self.unit}"


@dataclass
class Run:
    """One run of the benchmark: its size, its folder for temporary files, and its results so far.

    `rates` are requests a second, by system and load, one for each round.
    """

    folder: Path
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, name: str, value: float | None, unit: str = "x", goal: str = "", detail: str = "") -> None:
        """Add a row."""
        self.figures.append(Figure(name, value, unit, goal, detail))

    def add_rate(self, system: str, load: str, rate: float) -> None:
        """Add the rate of one round."""
        self.rates.setdefault(system, {}).setdefault(load, []).append(rate)

    def add_ratio(self, name: str, system: str, base: str, load: str, goal: str = "") -> None:
        """Add a row that compares two systems: the median over all rounds of the ratio of their rates."""
        try:
            rounds = list(zip(self.rates[system][load], self.rates[base][load], strict=True))
        except (KeyError, ValueError):
            self.add(name, None, goal=goal, detail=f"{system} or {base} was not measured in every round")
            return
        ratios = [ours / other for ours, other in rounds]
        spread = f"rounds {min(ratios):.3g} to {max(ratios):.3g}"
        mine, others = (median(column) for column in zip(*rounds, strict=True))
        self.add(name, median(ratios), goal=goal, detail=f"{mine:.0f}/s over {others:.0f}/s; {spread}")


def table(figures: Sequence[Figure]) -> Table:
    """The figures as a table for a terminal."""
    made = Table("figure", "measured", "goal", "verdict", "detail")
    for item in figures:
        colour = {"reached": "green", "missed": "red"}.get(item.verdict, "")
        goal = f"{item.goal} {item.unit}" if item.goal else ""
        made.add_row(item.name, item.shown, goal, item.verdict, item.detail, style=colour)
    return made


def rate_table(rates: dict[str, dict[str, list[float]]]) -> Table:
    """Requests a second by system and load, as the median over all rounds."""
    loads = list(dict.fromkeys(load for by_load in rates.values() for load in by_load))
    made = Table("requests a second", *loads)
    for system, by_load in rates.items():
        made.add_row(system, *(f"{median(by_load[load]):.0f}" if load in by_load else "-" for load in loads))
    return made


def goals(figures: Sequence[Figure]) -> str:
    """An SVG of the figures that have a goal. Bars show how far it is reached; the line is the goal."""
    rows = [item for item in figures if item.goal]
    width, row, left, full = 900, 26, 380, 300
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{(len(rows) + 2) * row}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
    ]
    for index, item in enumerate(rows):
        y = (index + 1) * row
        limit = float(item.goal.split()[1])
        done = 0.0 if item.value is None else item.value / limit
        if item.goal.startswith("<="):
            done = 1 / max(done, 0.01) if item.value is not None else 0.0
        length = min(max(done, 0.0), 1.5) * full / 1.5
        text = f"{item.shown} (goal {item.goal})" if item.value is not None else "skipped"
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(item.name)}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="14" fill="{_COLOURS[item.verdict]}"/>'
            f'<text x="{left + full + 10}" y="{y + 14}">{escape(text)}</text>'
        )
    line = left + full / 1.5
    parts.append(f'<path d="M{line} {row - 4} V{(len(rows) + 1) * row}" stroke="black" stroke-dasharray="4"/>')
    parts.append(f'<text x="{line}" y="16" text-anchor="middle">goal</text></svg>')
    return "\n".join(parts)


_TITLES = {
    "S c=16": "Answers a second to the same 4 KB request, 16 at a time",
    "L c=16": "Answers a second to the same request with a 1.2 MB screenshot, 16 at a time",
    "100 agents": "Answers a second to the new questions of 100 agents, each streamed for one second",
    "300 agents": "Answers a second to the new questions of 300 agents, each streamed for one second",
}
"""The loads that are drawn."""
_OURS = ("start, cold", "start", "stock mitmdump -s", "visible flows")


def comparison(rates: dict[str, dict[str, list[float]]]) -> str:
    """An SVG of the systems beside each other: for each load one bar for each system, the fastest first."""
    width, row, left, full, parts, y = 900, 24, 190, 600, list[str](), 0
    for load, title in _TITLES.items():
        found = {name: median(by_load[load]) for name, by_load in rates.items() if load in by_load}
        if not found:
            continue
        parts.append(f'<text x="12" y="{y + 24}" font-weight="bold">{escape(title)}</text>')
        y += 34
        for name, rate in sorted(found.items(), key=lambda item: -item[1]):
            label, colour = (f"this cache, {name}", "#1565c0") if name in _OURS else (name, "#9e9e9e")
            length = rate / max(found.values()) * full
            parts.append(
                f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
                f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="16" fill="{colour}"/>'
                f'<text x="{left + length + 8:.1f}" y="{y + 14}">{rate:,.0f}</text>'
            )
            y += row
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 12}" font-family="sans-serif" '
        'font-size="13"><rect width="100%" height="100%" fill="white"/>'
    )
    return "\n".join((head, *parts, "</svg>"))


@contextlib.contextmanager
def progress(name: str) -> Iterator[None]:
    """Say on standard error what is being measured, and how long it took."""
    begun = time.monotonic()
    print(f"measuring {name} …", file=sys.stderr)
    yield
    print(f"measured {name} in {time.monotonic() - begun:.0f} s", file=sys.stderr)
