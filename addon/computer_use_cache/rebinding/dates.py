"""The words in which a time or date may be expressed, so that an outdated one is noticed in any of them."""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

from computer_use_cache.rebinding.kinds import MONTHS, WEEKDAY, WEEKDAYS

_SUFFIXES = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
_YEAR_FIRST = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})|(?<!\d)(20\d{2})(\d{2})(\d{2})")
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([./])(\d{1,2})[./](\d{4})(?!\d)")
_MONTH = re.compile("|".join(month[:3] for month in MONTHS))
_YEAR = re.compile(r"\b(?:19|20)\d{2}\b")
_DAY = re.compile(r"(?<![\d:.,])\d{1,2}(?![\d:])")
_CLOCK = re.compile(
    r"(?<!\d)(\d{1,2}):(\d{2})(?::(\d{2}))?(?:[.,]\d+)?(?:\s?([AP])M\b)?(?:\s?(Z|UTC|GMT|[+-]\d{2}:?\d{2})\b)?"
)


class _Date(NamedTuple):
    """A date; a text may leave out the year or the day."""

    year: int | None
    month: int
    day: int | None


class Clock(NamedTuple):
    """A time of the day, and the zone as it is written."""

    hour: int
    minute: int
    second: int
    zone: str

    @property
    def seconds(self) -> int:
        return (self.hour * 60 + self.minute) * 60 + self.second


def sayings(text: str, *, day_first: bool) -> frozenset[str]:
    """The names and figures that people use for the moment in `text`; only itself if it cannot be parsed. With
    `day_first`, 11/12/2026 is in December."""
    said: set[str] = {text}
    if date := _date(text, day_first=day_first):
        said |= _of_date(date)
    if weekday := re.search(WEEKDAY, text):
        said |= {name for day in WEEKDAYS if day.startswith(weekday[0][:3]) for name in (day, day[:3])}
    if clock := clock_of(text):
        hour, minute, second = clock.hour, f"{clock.minute:02}", f"{clock.second:02}"
        said |= {f"{hour}:{minute}", f"{hour:02}:{minute}", f"{(hour - 1) % 12 + 1}:{minute}"}
        said.add(f"{hour:02}:{minute}:{second}")
    return frozenset(said)


def figures(text: str, *, day_first: bool) -> frozenset[tuple[str, int]]:
    """The numbers of the moment in `text`, each with its unit."""
    date, clock = _date(text, day_first=day_first), clock_of(text)
    numbers: dict[str, int | None] = date._asdict() if date else {}
    if clock:
        numbers |= {"hour": clock.hour, "minute": clock.minute}
    return frozenset((unit, number) for unit, number in numbers.items() if number is not None)


def day_of(text: str, *, day_first: bool) -> int | None:
    """The number of the day; None if the text does not name a whole date."""
    date = _date(text, day_first=day_first)
    return datetime.date(date.year, date.month, date.day).toordinal() if date and date.year and date.day else None


def clock_of(text: str) -> Clock | None:
    """The time of the day in a text; None if it has no clock."""
    found = _CLOCK.search(text)
    if found is None:
        return None
    hour, half = int(found[1]), found[4]
    if half:
        hour = hour % 12 + (12 if half == "P" else 0)
    return Clock(hour, int(found[2]), int(found[3] or 0), found[5] or "")


def _of_date(date: _Date) -> set[str]:
    month = MONTHS[date.month - 1]
    said = {month, month[:3]}
    if date.year:
        said.add(str(date.year))
    if date.day:
        said |= {f"{day}{between}{month}" for day, month in _orders(date.day, date.month) for between in "/.-"}
        said.add(f"{date.day}{_SUFFIXES.get(date.day, 'th')}")
    if date.year and date.day:
        whole = datetime.date(date.year, date.month, date.day)
        weekday = WEEKDAYS[whole.weekday()]
        said |= {weekday, weekday[:3], whole.isoformat(), f"{whole:%Y%m%d}"}
    return said


def _orders(day: int, month: int) -> list[tuple[str, str]]:
    """Day and month in both orders, with and without zeros."""
    forms = [(str(day), str(month)), (f"{day:02}", f"{month:02}")]
    return [*forms, *((month, day) for day, month in forms)]


def _date(text: str, *, day_first: bool) -> _Date | None:
    if re.fullmatch(r"\d{10,}(?:\.\d+)?", text):
        moment = datetime.datetime.fromtimestamp(int(text[:10]), datetime.UTC)
        return _Date(moment.year, moment.month, moment.day)
    if found := _YEAR_FIRST.search(text):
        return _existing(*(int(group) for group in found.groups() if group))
    if found := _YEAR_LAST.search(text):
        first, between, second, year = found.groups()
        is_day_first = day_first or between == "."
        day, month = (first, second) if is_day_first else (second, first)
        return _existing(int(year), int(month), int(day))
    if named := _MONTH.search(text):
        month = next(at for at, name in enumerate(MONTHS, 1) if name.startswith(named[0]))
        year, day = _YEAR.search(text), _DAY.search(text)
        return _existing(int(year[0]) if year else None, month, int(day[0]) if day else None)
    return None


def _existing(year: int | None, month: int, day: int | None) -> _Date | None:
    try:
        datetime.date(year or 2000, month, day or 1)  # a leap year
    except ValueError:
        return None
    return _Date(year, month, day)
