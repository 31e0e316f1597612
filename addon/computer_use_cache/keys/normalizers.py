"""Normalisers: values that change from run to run without changing the question become equal before hashing.

A normaliser maps the part of the body that enters the key to a new body; what is forwarded never passes through here.
Different values within one request (two ids, two paths) stay different: they are numbered in order of appearance. In
doubt a value is left alone, because a miss costs less than a wrong hit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import re2

from computer_use_cache.formats import walking
from computer_use_cache.formats.base import Format
from computer_use_cache.screens.picture import map_pictures, picture_of
from computer_use_cache.screens.pixels import can_decode

type Json = dict[str, Any]
type Change = Callable[[Format, Json, list[str]], Json]


@dataclass(frozen=True, slots=True)
class Normalizer:
    """A named normaliser or an `s/regex/text/` rule."""

    name: str
    _change: Change

    def apply(self, format: Format, body: Json, blanked: list[str] | None = None) -> Json:
        """Return a normalised copy of `body`. The values that were taken out of its texts are appended to `blanked`."""
        return self._change(format, body, [] if blanked is None else blanked)


# -- texts

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


def _pattern(text: str) -> Any:
    """Compile with RE2, whose linear time means that no pattern and no text can stall the proxy. Raises ValueError."""
    try:
        return re2.compile(text, _OPTIONS)
    except re2.error as error:
        raise ValueError(error.args[0].decode("utf-8", "replace")) from None


def _texts(format: Format, body: Json, change: Callable[[str], str]) -> Json:
    """Apply `change` to every string in `body` except member names and values of exact members."""

    def changed(text: str) -> str:
        try:
            return change(text)
        except UnicodeEncodeError:  # RE2 refuses lone surrogates
            return text

    # Sorted, because numbering must not depend on the order of members.
    written: Json = walking.map_texts(body, changed, leave=format.exact_members, order=sorted)
    return written


def _replace(patterns: Iterable[tuple[str, str]]) -> Change:
    """Replace the matches of each pattern with its text, in which `\\1` stands for group 1."""
    compiled = [(_pattern(pattern), text) for pattern, text in patterns]

    def apply(format: Format, body: Json, blanked: list[str]) -> Json:
        def change(found: str) -> str:
            for pattern, text in compiled:
                found = pattern.sub(lambda match, text=text: _expanded(match, text, blanked), found)
            return found

        return _texts(format, body, change)

    return apply


def _expanded(match: Any, text: str, blanked: list[str]) -> str:
    """The replacement of a match. Adds to `blanked` the match and, if its ends stay the same, the part between them."""
    before, after = match[0], str(match.expand(text))
    start = shared_start(before, after)
    end = shared_start(before[start:][::-1], after[start:][::-1])
    part = before[start : len(before) - end].strip()
    blanked += dict.fromkeys(filter(None, (before, part)))
    return after


def shared_start(one: str, other: str) -> int:
    """How many leading characters two texts share."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _number(pattern: str, name: str) -> Change:
    """Number the distinct values that group 1 of the pattern matches, ignoring case."""
    compiled = _pattern(pattern)

    def apply(format: Format, body: Json, blanked: list[str]) -> Json:
        number = _numbers(name)

        def rewritten(found: Any) -> str:
            whole: str = found[0]
            blanked.append(found[1])
            return whole.replace(found[1], number(found[1].lower()))

        return _texts(format, body, lambda text: str(compiled.sub(rewritten, text)))

    return apply


def _numbers(name: str) -> Callable[[str], str]:
    """Numbers the values of one request in order of appearance: `<name 1>`, `<name 2>`."""
    known: dict[str, int] = {}
    return lambda value: f"<{name} {known.setdefault(value, len(known) + 1)}>"


_UUID = r"(?i)(?:\b|_)([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:\b|_)"

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DAY = r"\b(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_DATE = (
    rf"(?:{_DAY}\.?,?\s+)?(?:\b\d{{4}}-\d{{2}}-\d{{2}}|\b\d{{4}}/\d{{1,2}}/\d{{1,2}}|\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)?\s+{_MONTH},?\s+\d{{4}}|\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}})"
)
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:\s?[AaPp][Mm]\b)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT)\b)?(?:\s?[+-]\d{2}:?\d{2}\b)?"
_TIMESTAMPS = (
    rf"(?i)(?:{_DATE}|<date>)(?:T|,?\s+(?:at\s+)?){_TIME}{_ZONE}"  # ISO 8601, RFC 9110 and everyday spellings
    rf"|{_DAY}\s+{_MONTH}\s+\d{{1,2}}\s+{_TIME}{_ZONE}(?:\s+[A-Z]{{3,4}})?\s+\d{{4}}\b"  # the output of `date`
    r"|\b20\d{6}T\d{6}Z?\b"  # ISO 8601 without dashes
)
_UNIX_TIMES = r"(^|[^\w.$-])(?:1[5-9]|2[01])\d{8}(?:\.\d{1,9}|\d{3}|\d{6})?\b"
"""Seconds (optionally with a fraction), milliseconds or microseconds, from 2017 to 2039."""

_TMP_PATH = (
    r"(?:^|[^\w.~-])((?i:(?:/private)?(?:/var)?/tmp/|(?:/private)?/var/folders/[^/\s]+/[^/\s]+/[TC0]/"
    r"|[A-Z]:(?:\\\\?|/)Users(?:\\\\?|/)[^\\/\r\n]+(?:\\\\?|/)AppData(?:\\\\?|/)Local(?:\\\\?|/)Temp(?:\\\\?|/))"
    r"(?:pytest-of-[\w.-]+/pytest-\d+/)?[\w.+@%=~-]*\w)"
)
"""A folder for temporary files and the generated name below it."""


# -- places


def _at_call_ids(format: Format, body: Json, change: Callable[[str], str]) -> Json:
    """Apply `change` to call ids, except in references to stored items, whose id is their content."""
    written: Json = walking.map_texts_at(body, format.call_id_places, change, leave=format.reference_types)
    return written


def _number_call_ids(format: Format, body: Json, _blanked: list[str]) -> Json:
    return _at_call_ids(format, body, _numbers("call"))


def without_call_ids(format: Format, body: Json) -> Json:
    """The body with empty tool call ids: items that differ only in their ids become equal."""
    return _at_call_ids(format, body, lambda _: "")


def _name_pixels() -> Change:
    _need_pillow("image-pixels")
    return lambda api, body, _blanked: map_pictures(api, body, _named_by_pixels)


def _keep_pictures() -> Change:
    """`image-caret` changes no key: it is a rule for comparing pictures (screens/approval.py)."""
    _need_pillow("image-caret")
    return lambda _, body, _blanked: body


def _need_pillow(name: str) -> None:
    if not can_decode():
        raise ValueError(f"{name} only where Pillow is installed (pip install '.[images]')")


def _named_by_pixels(text: str) -> str:
    picture = picture_of(text)
    return picture.before + picture.pixels if picture.pixels else text


# -- the setting

_NAMED: dict[str, Callable[[], Change]] = {
    "uuids": lambda: _number(_UUID, "uuid"),
    "timestamps": lambda: _replace([(_TIMESTAMPS, "<timestamp>"), (_UNIX_TIMES, r"\1<timestamp>")]),
    "dates": lambda: _replace([(f"(?i){_DATE}", "<date>")]),
    "tmp-paths": lambda: _number(_TMP_PATH, "tmp"),
    "tool-call-ids": lambda: _number_call_ids,
    "image-pixels": _name_pixels,
    "image-caret": _keep_pictures,
}
NAMES = tuple(_NAMED)
_RULE = re.compile(r"s/((?:[^/\\]|\\.)+)/((?:[^/\\]|\\.)*)/", re.DOTALL)


def named(name: str) -> Normalizer:
    """The normaliser with one of the `NAMES`. Raises ValueError if a library that it needs is not installed."""
    return Normalizer(name, _NAMED[name]())


def normalizers(text: str) -> tuple[Normalizer, ...]:
    """Parse the setting; the result is in the order of application. Raises ValueError, which says what is allowed."""
    given = (item.replace("\\,", ",").strip() for item in re.split(r"(?<!\\),", text))
    return tuple(named(item) if item in _NAMED else _rule(item) for item in given if item)


def _rule(item: str) -> Normalizer:
    found = _RULE.fullmatch(item)
    if found is None:
        names = ", ".join(NAMES)
        raise ValueError(
            rf"{names} or s/regex/text/ rules, separated by commas, and not {item!r} (write \/ and \, in rules)"
        )
    pattern, text = (part.replace(r"\/", "/") for part in found.groups())
    try:
        groups = _pattern(pattern).groups
        re.compile("()" * groups).fullmatch("").expand(text)  # type: ignore[union-attr]
    except (ValueError, re.error) as error:
        raise ValueError(f"an RE2 regular expression and a text that uses its groups in {item!r}: {error}") from None
    return Normalizer(item, _replace([(pattern, text)]))
