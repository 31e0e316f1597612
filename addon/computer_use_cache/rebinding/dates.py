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


class _Date(NamedTuple):
    """A date, of which a text may leave out the year or the day."""

    year: int | None
    month: int
    day: int | None


def sayings(text: str, *, day_first: bool) -> frozenset[str]:
    """The names and figures that people use for the moment in `text`; only itself if it cannot be parsed. With
    `day_first`, 11/12/2026 is in December."""
    said: set[str] = {text}
    if date := _date(text, day_first=day_first):
        said |= _of_date(date)
    if weekday := re.search(WEEKDAY, text):
        said |= {name for day in WEEKDAYS if day.startswith(weekday[0][:3]) for name in (day, day[:3])}
    if clock := re.search(r"(?<!\d)(\d{1,2}):(\d{2})(:\d{2})?", text):
        hour, minute, second = int(clock[1]), clock[2], clock[3] or ""
        said |= {
            f"{hour}:{minute}",
            f"{hour:02}:{minute}",
            f"{(hour - 1) % 12 + 1}:{minute}",
            f"{hour:02}:{minute}{second}",
        }
    return frozenset(said)


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
