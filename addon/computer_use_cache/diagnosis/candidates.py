"""Settings that might make two requests equal: fields to leave out of the key, and rules for labelled values.

Only what names a run, a request or a machine is a candidate. A number or a word of the question never is, however
little of it differs: nothing could show that the answer still fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice

from computer_use_cache.diagnosis.differences import differences, value_at
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys.normalizers import shared_start
from computer_use_cache.rebinding.bindings import FOLDERS

_MOST = 500
"""How many differences are considered."""

# -- fields

_RECORDS = re.compile(r"metadata$|^(?:labels|telemetry|trace)$", re.IGNORECASE)
"""Members whose contents are notes for the provider's records, which the model is not shown."""
_NAMES = frozenset(
    (
        *("user", "user_id", "userId", "prompt_cache_key", "promptCacheKey", "safety_identifier", "safetyIdentifier"),
        *("timestamp", "created", "created_at", "createdAt", "sent_at", "sentAt", "date", "time", "nonce"),
    )
)
_ABOUT = frozenset(
    (
        *("session", "request", "trace", "span", "run", "nonce", "correlation", "invocation", "build", "job", "client"),
        *("device", "installation", "idempotency", "telemetry", "turn", "attempt", "execution", "workflow"),
    )
)
_WHAT = frozenset(["id", "uuid", "guid", "key", "name", "number", "token", "identifier", "timestamp"])
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")


def fields(format: Format, asked: Json, recorded: Json) -> tuple[str, ...]:
    """JSON pointers for CACHE_IGNORE_KEYS, with `*` for indices, of differing fields that do not reach the model."""
    found = (difference.path for difference in islice(differences(asked, recorded), _MOST))
    pointers = (_generalized(path, asked) for path in found)
    return tuple(dict.fromkeys(pointer for pointer in pointers if _is_field(format, pointer)))


def _generalized(path: str, asked: Json) -> str:
    """The pointer with `*` in place of list indices."""
    parts = path.split("/")
    parents = ["/".join(parts[:end]) for end in range(1, len(parts))]
    in_list = [isinstance(value_at(asked, parent), list) for parent in parents]
    below = ("*" if is_index else part for is_index, part in zip(in_list, parts[1:], strict=True))
    return "/".join(("", *below))


def _is_field(format: Format, pointer: str) -> bool:
    if "," in pointer or pointer.removeprefix("/") in format.call_id_places:
        return False
    match pointer.split("/")[1:]:
        case [record, *_] if _RECORDS.search(record):
            return True
        case [name]:
            return _names_the_run(format, name)
        case [conversation, "*", name] if conversation == format.conversation:
            return _names_the_run(format, name) or name in ("id", "uuid")
        case [conversation, "*", record, *_] if conversation == format.conversation:
            return bool(_RECORDS.search(record))
    return False


def _names_the_run(format: Format, name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    return name not in format.exact_members and (
        name in _NAMES or (not _ABOUT.isdisjoint(words) and (len(words) == 1 or words[-1] in _WHAT))
    )


# -- rules

_LABEL = re.compile(
    r"""(?ix) (?<![^\W_])
    (?P<label> (?:session|request|trace|span|run|build|job|nonce|correlation|invocation|container|instance|sandbox
        |worker|execution|workflow|pipeline|deployment)
        (?P<what> [ _-]? (?:id|uuid|no\.?|number|name|key|token) )? )
    ["'\\]{0,3} \s? (?:is\s)? (?P<sign> [:=#] )? \s? ["'\\]{0,3} \#? $"""
)
_LONGEST_LABEL = 48
_LONGEST_VALUE = 64
_VALUE_PATTERN = r"[\w.:-]*\d[\w:-]*"
_VALUE = re.compile(_VALUE_PATTERN)
_AFTER_PATTERN = r"[^\w \t]|[ \t]+[^\pL\s]|[ \t]*$"
"""What may follow a value: not a word, because the value may count it ("build: 5 errors")."""


def rules(asked: Json, recorded: Json) -> tuple[str, ...]:
    """`s/regex/text/` rules for values behind a label (`Build: 8812`) that differ between two requests."""
    found: dict[str, None] = {}
    for difference in islice(differences(asked, recorded), _MOST):
        ours, theirs = value_at(asked, difference.path), value_at(recorded, difference.path)
        if isinstance(ours, str) and isinstance(theirs, str):
            found |= dict.fromkeys(_rules_of(ours.split("\n"), theirs.split("\n")))
    return tuple(found)


def _rules_of(ours: list[str], theirs: list[str]) -> Iterator[str]:
    if len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from _rules_of_line(one, other)


def _rules_of_line(one: str, other: str) -> Iterator[str]:
    """A rule for each value that differs, from left to right, up to the first difference without a label."""
    while one != other:
        place = _labelled(one, shared_start(one, other))
        if place is None:
            return
        label, start = place
        values = _VALUE.match(one, start), _VALUE.match(other, start)
        if not all(values):
            return
        yield rf"s/({_escaped(label[0])}){_VALUE_PATTERN}({_AFTER_PATTERN})/\1<{label['label'].lower()}>\2/"
        one, other = (value.string[value.end() :] for value in values if value)


def _labelled(text: str, at: int) -> tuple[re.Match[str], int] | None:
    """The label of the value around a place in a text, and where that value begins."""
    for start in range(at, max(at - _LONGEST_VALUE, -1), -1):
        label = _LABEL.search(text[max(start - _LONGEST_LABEL, 0) : start])
        if label and (label["sign"] or label["what"]):
            return label, start
        if start == 0 or not re.match(r"[\w.:-]", text[start - 1]):
            return None
    return None


def _escaped(text: str) -> str:
    return re.escape(text).replace("\\ ", " ").replace("/", r"\/").replace(",", r"\,")


# -- bindings

_PATH = re.compile(r"[\w./~+@%=:\\-]*")


def bindings(asked: Json, recorded: Json, missing: Mapping[str, str]) -> dict[str, str]:
    """The present values of the `missing` bindings (name to recorded value), taken from where two texts begin to differ
    within such a value."""
    found: dict[str, str] = {}
    for difference in islice(differences(asked, recorded), _MOST):
        ours, theirs = value_at(asked, difference.path), value_at(recorded, difference.path)
        if not isinstance(ours, str) or not isinstance(theirs, str):
            continue
        for name, old in missing.items():
            start = theirs.find(old)
            if name not in found and 0 <= start <= shared_start(ours, theirs) < start + len(old):
                rest = _path_at(theirs, start + len(old))
                new = _path_at(ours, start).removesuffix(rest)
                if new and name in FOLDERS:
                    found[name] = new
    return found


def _path_at(text: str, start: int) -> str:
    found = _PATH.match(text, start)
    return found[0].rstrip(".:") if found else ""
