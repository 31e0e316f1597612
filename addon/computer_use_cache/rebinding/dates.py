"""The words in which a time or date may be expressed, so that an outdated one is noticed in any of them."""

from __future__ import annotations

import datetime
import re

from computer_use_cache.rebinding.kinds import MONTHS, WEEKDAYS

_SUFFIXES = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


def sayings(text: str) -> frozenset[str]:
    """The names and figures that people use for the moment in `text`; empty if it cannot be parsed."""
    said: set[str] = {text}
    if date := _date(text):
        weekday, month = WEEKDAYS[date.weekday()], MONTHS[date.month - 1]
        said |= {weekday, weekday[:3], month, month[:3], str(date.year), date.isoformat(), f"{date:%Y%m%d}"}
        said |= {f"{day}{between}{month}" for day, month in _orders(date) for between in "/.-"}
        said.add(f"{date.day}{_SUFFIXES.get(date.day, 'th')}")
    if clock := re.search(r"(?<!\d)(\d{1,2}):(\d{2})(:\d{2})?", text):
        hour, minute, second = int(clock[1]), clock[2], clock[3] or ""
        said |= {
            f"{hour}:{minute}",
            f"{hour:02}:{minute}",
            f"{(hour - 1) % 12 + 1}:{minute}",
            f"{hour:02}:{minute}{second}",
        }
    return frozenset(said)


def _orders(date: datetime.date) -> list[tuple[str, str]]:
    """Day and month in both orders, with and without zeros."""
    forms = [(str(date.day), str(date.month)), (f"{date.day:02}", f"{date.month:02}")]
    return [*forms, *((month, day) for day, month in forms)]


def _date(text: str) -> datetime.date | None:
    if re.fullmatch(r"\d{10,}(?:\.\d+)?", text):
        return datetime.datetime.fromtimestamp(int(text[:10]), datetime.UTC).date()
    if found := re.search(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})|(?<!\d)(20\d{2})(\d{2})(\d{2})", text):
        year, month, day = (int(group) for group in found.groups() if group)
    else:
        named = re.search(r"|".join(month[:3] for month in MONTHS), text)
        years, days = re.search(r"\b\d{4}\b", text), re.search(r"(?<![\d:])\d{1,2}(?![\d:])", text)
        if not (named and years and days):
            return None
        month = next(at for at, name in enumerate(MONTHS, 1) if name.startswith(named[0]))
        year, day = int(years[0]), int(days[0])
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None
