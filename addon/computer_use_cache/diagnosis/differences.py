"""Where two JSON values differ: the paths, and a short excerpt of each side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from computer_use_cache.credentials import detection
from computer_use_cache.credentials.redaction import HIDDEN
from computer_use_cache.formats.placeholder import digest_in
from computer_use_cache.keys import canonical_json

_SHOWN_BEFORE = 8
_SHOWN_CHARS = 32
"""The length of an excerpt, which begins a little before the texts diverge."""
_PROSE_WORDS = 3
"""A text of fewer words is a name, an id or a date, which may change as a whole."""
_SHORT_CHARS = 64
"""A shorter text may say what its object is (`"type": "tool_use"`)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two requests differ.

    `path` is a JSON pointer (RFC 6901) into the body, or `upstream`, `path`, `query` or `header <name>`. `at` is the
    character, counted from 0, where two strings diverge; None if they are not both strings. `asked` and `recorded` are
    excerpts of both sides, None if a side has no value there. `alike` is the share (0 to 1) of the longer string that
    lies before and after the difference; 1 unless both are prose. `picture` says how two pictures differ.
    """

    path: str
    at: int | None
    asked: str | None
    recorded: str | None
    alike: float = 1.0
    picture: str = ""

    def __str__(self) -> str:
        if self.picture:
            return f"{self.path}: {self.picture}"
        return self.path if self.at is None else f"{self.path} @ char {self.at}"


def differences(asked: object, recorded: object, path: str = "") -> Iterator[Difference]:
    """The differences between two values at `path`, both from `canonical_json.parse_body`."""
    match asked, recorded:
        case dict(), dict():
            for name in asked | recorded:
                below = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
                if name in asked and name in recorded:
                    yield from differences(asked[name], recorded[name], below)
                else:
                    yield Difference(below, None, _excerpt(asked, name), _excerpt(recorded, name))
        case list(), list():
            for index, (one, other) in enumerate(zip(asked, recorded, strict=False)):
                yield from differences(one, other, f"{path}/{index}")
            if len(asked) != len(recorded):
                place = min(len(asked), len(recorded))
                yield Difference(f"{path}/{place}", None, _excerpt(asked, place), _excerpt(recorded, place))
        case str(), str():
            if asked != recorded:
                yield _text_difference(asked, recorded, path)
        case _:
            if canonical_json.canonical(asked) != canonical_json.canonical(recorded):
                yield Difference(path, None, _written(asked), _written(recorded))


def without_credentials(found: Difference, recorded: object) -> Difference:
    """The difference with its recorded excerpt hidden if `recorded`, a whole body, has a credential at that path.

    An entry may be older than the rule that now finds its credential. The check reads whole values, because an excerpt
    may cut a credential short, and so is done for shown differences only.
    """
    holds_one = any(detection.find_in_body({"": value_at(recorded, found.path)}))
    return replace(found, recorded=HIDDEN) if holds_one else found


def without_equal(asked: Any, recorded: Any) -> tuple[Any, Any]:
    """Two values without their equal long texts, lists and objects, which in long requests are nearly everything.

    What makes the whole values equal makes these equal, too, but not the other way round.
    """
    match asked, recorded:
        case dict(), dict():
            kept = [
                name for name in asked if name not in recorded or not _is_long_and_equal(asked[name], recorded[name])
            ]
            pairs = {name: without_equal(asked[name], recorded[name]) for name in kept if name in recorded}
            ours = {name: pairs[name][0] if name in pairs else asked[name] for name in kept}
            theirs = {name: pairs[name][1] for name in pairs}
            return ours, theirs | {name: recorded[name] for name in recorded if name not in asked}
        case list(), list() if len(asked) == len(recorded):
            items = [pair for pair in zip(asked, recorded, strict=True) if not _is_long_and_equal(*pair)]
            rest = [without_equal(*pair) for pair in items]
            return [one for one, _ in rest], [other for _, other in rest]
    return asked, recorded


def _is_long_and_equal(one: Any, other: Any) -> bool:
    return not isinstance(one, (int, float)) and one == other and (not isinstance(one, str) or len(one) > _SHORT_CHARS)


def value_at(value: Any, pointer: str) -> Any:
    """The value that a JSON pointer names; None if it leads nowhere."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        match value:
            case dict():
                value = value.get(name)
            case list() if int(name) < len(value):
                value = value[int(name)]
            case _:
                return None
    return value


def _text_difference(asked: str, recorded: str, path: str) -> Difference:
    at = _common_prefix(asked, recorded)
    start = max(at - _SHOWN_BEFORE, 0)
    one, other = asked[start : start + _SHOWN_CHARS], recorded[start : start + _SHOWN_CHARS]
    if digest_in(asked) and digest_in(recorded):
        return Difference(path, None, "<picture>", "<picture>", picture="another picture")
    longer = max(asked, recorded, key=len)
    if len(longer.split(maxsplit=_PROSE_WORDS)) < _PROSE_WORDS or digest_in(longer):
        return Difference(path, at, one, other)
    alike = (at + _common_prefix(asked[:at:-1], recorded[:at:-1])) / len(longer)
    return Difference(path, at, one, other, alike=alike)


def _common_prefix(one: str, other: str) -> int:
    """The length of the common prefix, by bisection: comparing slices is fast, comparing characters is not."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _excerpt(values: Any, place: Any) -> str | None:
    exists = place in values if isinstance(values, dict) else place < len(values)
    return _written(values[place]) if exists else None


def _written(value: object) -> str:
    return canonical_json.canonical(value).decode("utf-8", "replace")[:_SHOWN_CHARS]
