"""What moves from run to run without changing the question is made equal before a request is hashed.

Normalisers see the part of the body that enters the key, and give a new one: what is forwarded never passes here. Where
two different values stand in one request (two ids, two paths), they stay two: they are numbered in the order in which
they come. When in doubt a value is left alone, which costs a miss; a wrong hit would cost more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import re2

from computer_use_cache.formats import FORMATS
from computer_use_cache.formats.base import EXACT_MEMBERS, REFERENCE_TYPES, tree_of
from computer_use_cache.keys.pixels import Pixels, can_decode

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Normalizer:
    """One of the names, or a rule as it was given."""

    name: str
    _change: Callable[[Json, list[str]], Json]

    def apply(self, body: Json, blanked: list[str] | None = None) -> Json:
        """A normalised copy of what enters the key of a request. The values that were taken out of its texts are added
        to `blanked`, in their order."""
        return self._change(body, [] if blanked is None else blanked)


# -- texts

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


def _pattern(text: str) -> Any:
    """RE2 matches in linear time: no pattern and no text can hold up the proxy. Raises ValueError."""
    try:
        return re2.compile(text, _OPTIONS)
    except re2.error as error:
        raise ValueError(error.args[0].decode("utf-8", "replace")) from None


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every text in it changed, but for `EXACT_MEMBERS` and the names of members."""
    match value:
        case str():
            try:
                return change(value)
            except UnicodeEncodeError:  # RE2 takes no lone surrogates
                return value
        case list():
            return [_texts(item, change) for item in value]
        case dict():
            # Sorted, as what is numbered must not depend on the order of members.
            return value | {name: _texts(value[name], change) for name in sorted(value.keys() - EXACT_MEMBERS)}
    return value


def _replace(patterns: Iterable[tuple[str, str]]) -> Callable[[Json, list[str]], Json]:
    """Replaces what each pattern finds with its text, in which `\\1` stands for group 1."""
    compiled = [(_pattern(pattern), text) for pattern, text in patterns]

    def apply(body: Json, blanked: list[str]) -> Json:
        def change(found: str) -> str:
            for pattern, text in compiled:
                found = pattern.sub(lambda match, text=text: _expanded(match, text, blanked), found)
            return found

        changed: Json = _texts(body, change)
        return changed

    return apply


def _expanded(match: Any, text: str, blanked: list[str]) -> str:
    """What takes the place of a match. Blanked are the match and, where it keeps its ends, the part that changes."""
    before, after = match[0], str(match.expand(text))
    start = _alike(before, after)
    end = _alike(before[start:][::-1], after[start:][::-1])
    part = before[start : len(before) - end].strip()
    blanked += dict.fromkeys(filter(None, (before, part)))
    return after


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin alike with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _number(pattern: str, name: str) -> Callable[[Json, list[str]], Json]:
    """Numbers what group 1 of the pattern finds, its case aside."""
    compiled = _pattern(pattern)

    def apply(body: Json, blanked: list[str]) -> Json:
        number = _numbers(name)

        def rewritten(found: Any) -> str:
            whole: str = found[0]
            blanked.append(found[1])
            return whole.replace(found[1], number(found[1].lower()))

        counted: Json = _texts(body, lambda text: str(compiled.sub(rewritten, text)))
        return counted

    return apply


def _numbers(name: str) -> Callable[[str], str]:
    """The values of one request by the order in which they come: `<name 1>`, `<name 2>`."""
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
    rf"(?i)(?:{_DATE}|<date>)(?:T|,?\s+(?:at\s+)?){_TIME}{_ZONE}"  # ISO 8601, RFC 9110, and as people write it
    rf"|{_DAY}\s+{_MONTH}\s+\d{{1,2}}\s+{_TIME}{_ZONE}(?:\s+[A-Z]{{3,4}})?\s+\d{{4}}\b"  # as `date` prints it
    r"|\b20\d{6}T\d{6}Z?\b"  # ISO 8601 without dashes
)
_UNIX_TIMES = r"(^|[^\w.$-])(?:1[5-9]|2[01])\d{8}(?:\.\d{1,9}|\d{3}|\d{6})?\b"
"""Seconds, with a fraction or not, milliseconds or microseconds; from 2017 to 2039."""

_TMP_PATH = (
    r"(?:^|[^\w.~-])((?i:(?:/private)?(?:/var)?/tmp/|(?:/private)?/var/folders/[^/\s]+/[^/\s]+/[TC0]/"
    r"|[A-Z]:(?:\\\\?|/)Users(?:\\\\?|/)[^\\/\r\n]+(?:\\\\?|/)AppData(?:\\\\?|/)Local(?:\\\\?|/)Temp(?:\\\\?|/))"
    r"(?:pytest-of-[\w.-]+/pytest-\d+/)?[\w.+@%=~-]*\w)"
)
"""The folder for temporary files and the name below it, which programs make up."""


# -- places


_IMAGES = (
    "messages/*/content/*/image_url/url",  # Chat Completions
    *("messages/*/content/*/source/data", "messages/*/content/*/content/*/source/data"),  # Messages
    *("input/*/content/*/image_url", "input/*/output/image_url", "input/*/output/*/image_url"),  # Responses
    *("contents/*/parts/*/inlineData/data", "contents/*/parts/*/functionResponse/parts/*/inlineData/data"),  # Gemini
    *("contents/*/parts/*/inline_data/data", "contents/*/parts/*/function_response/parts/*/inline_data/data"),
)
"""Where each API has them: member names, and `*` for every item of a list."""


def _at(value: Any, tree: Json, change: Callable[[str], str]) -> Any:
    """`value` with the texts at the places of `tree` changed."""
    match value:
        case str() if not tree:
            return change(value)
        case list() if "*" in tree:
            return [_at(item, tree["*"], change) for item in value]
        case dict() if value.get("type") not in REFERENCE_TYPES:
            return value | {name: _at(value[name], tree[name], change) for name in sorted(value.keys() & tree.keys())}
    return value


_CALL_ID_TREE = tree_of(tuple(place for format in FORMATS for place in format.call_id_places))


def _number_call_ids(body: Json, _blanked: list[str]) -> Json:
    counted: Json = _at(body, _CALL_ID_TREE, _numbers("call"))
    return counted


def without_call_ids(body: Json) -> Json:
    """A body with the ids of its tool calls empty: what differs in nothing else is equal, wherever it stands."""
    emptied: Json = _at(body, _CALL_ID_TREE, lambda _: "")
    return emptied


def _name_pixels() -> Callable[[Json, list[str]], Json]:
    if not can_decode():
        raise ValueError("image-pixels only where Pillow is installed (pip install '.[images]')")
    pixels = Pixels()
    return lambda body, _blanked: _at(body, tree_of(_IMAGES), pixels.named)


# -- the setting

_NAMED: dict[str, Callable[[], Callable[[Json, list[str]], Json]]] = {
    "uuids": lambda: _number(_UUID, "uuid"),
    "timestamps": lambda: _replace([(_TIMESTAMPS, "<timestamp>"), (_UNIX_TIMES, r"\1<timestamp>")]),
    "dates": lambda: _replace([(f"(?i){_DATE}", "<date>")]),
    "tmp-paths": lambda: _number(_TMP_PATH, "tmp"),
    "tool-call-ids": lambda: _number_call_ids,
    "image-pixels": _name_pixels,
}
NAMES = tuple(_NAMED)
_RULE = re.compile(r"s/((?:[^/\\]|\\.)+)/((?:[^/\\]|\\.)*)/", re.DOTALL)


def named(name: str) -> Normalizer:
    """The normaliser of one of the `NAMES`; raises ValueError where it cannot work."""
    return Normalizer(name, _NAMED[name]())


def normalizers(text: str) -> tuple[Normalizer, ...]:
    """The normalisers of a setting, in the order to be applied. Raises ValueError, saying what is allowed."""
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
        raise ValueError(f"a regular expression of RE2, and a text with its groups, in {item!r}: {error}") from None
    return Normalizer(item, _replace([(pattern, text)]))
