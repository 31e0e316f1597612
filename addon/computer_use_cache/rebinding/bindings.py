"""What a run knows about itself: its folder, home, user, host and temporary folder, and the forms in which they appear.

A name alone (`project`, `anna`) stands in any prompt, so it counts only where it cannot be anything else: a folder's
name as a segment of a path below the home, a user or host behind its label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

from computer_use_cache.rebinding.kinds import compiled
from computer_use_cache.rebinding.literals import Literals, stands_alone

FOLDERS = ("cwd", "home", "tmp")
NAMES = ("user", "host")
CONSTANT = ("cwd", "home", "user", "host")
"""The bindings of which a run has one value each; what lies in a temporary folder has many."""
_COMMON_TMP = ("/tmp", "/var/tmp", "/private/tmp")  # noqa: S108 (nothing is written there)
"""The kind `tmp` finds what lies there by itself."""
_ENTRY = re.compile(rb"[/\\]+[\w.+@%=~-]*\w")
_SEGMENTS = re.compile(rb"[\w.+@%=~/\\-]*")
_LABELLED = {
    "user": r"(?i:\b(?:user(?:[ _-]?name)?|logname)\b)[\"'\\]{{0,4}}\s?[:=>]?\s?[\"'\\]{{0,4}}({0})\b|\b({0})@{1}\b"
    r"|[d-][rwxsStT-]{{9}}[.+@]?\s+\d+\s+({0})\s",
    "host": r"(?i:\bhost(?:[ _-]?name)?\b)[\"'\\]{{0,4}}\s?[:=>]?\s?[\"'\\]{{0,4}}({0})\b|\b{1}@({0})\b"
    r"|\b(?:Linux|Darwin) ({0})\b",
}
"""Where a name is a user's or a host's: behind its label, in `user@host`, in `ls -l`, in `uname -a`."""


@dataclass(frozen=True)
class Bindings:
    """The values of one run; `values` maps `cwd`, `home`, `tmp`, `user` and `host` to texts, where they are known."""

    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Bindings:
        """The bindings of a setting: `cwd=/x,home=/y`. Raises ValueError, saying what is allowed."""
        values = {}
        for item in filter(None, (item.strip() for item in text.split(","))):
            name, _, value = item.partition("=")
            if name not in (*FOLDERS, *NAMES) or not value:
                raise ValueError(f"{', '.join((*FOLDERS, *NAMES))}, each with = and a value, and not {item!r}")
            values[name] = value
        return cls(values)

    @cached_property
    def forms(self) -> Mapping[tuple[str, str], str]:
        """The texts by which the values appear, by name and form; where two are the same text, the first counts."""
        forms: dict[tuple[str, str], str] = {}
        for name in FOLDERS:
            path = self.values.get(name, "").rstrip("/\\")
            if path not in _COMMON_TMP and path.count("/") + path.count("\\") >= 1 and len(path) > 2:
                for form, text in _forms(path):
                    forms[name, form] = text
        home, cwd = (self.values.get(name, "").rstrip("/\\") for name in ("home", "cwd"))
        if home and cwd.startswith((f"{home}/", f"{home}\\")):
            forms["cwd", "~"] = f"~{cwd[len(home) :]}"
            forms["cwd", "$HOME"] = f"$HOME{cwd[len(home) :]}"
        for name in NAMES:
            if value := self.values.get(name, ""):
                forms[name, "name"] = value
        if folder_name := re.split(r"[/\\]", cwd)[-1]:
            forms["cwd", "name"] = folder_name
        return forms

    @cached_property
    def _by_text(self) -> Mapping[bytes, tuple[str, str]]:
        paths = {key: text for key, text in self.forms.items() if key[1] != "name" or _is_telling(text, key[0])}
        return {text.encode("utf-8", "surrogatepass"): key for key, text in reversed(paths.items())}

    @cached_property
    def _literals(self) -> Literals:
        return Literals(self._by_text)

    @cached_property
    def _names(self) -> tuple[list[str], Any]:
        """The pattern for users and hosts, and which of them each of its groups is."""
        user, host = (re.escape(self.values.get(name, "")) or r"[\w.-]+" for name in NAMES)
        patterns = {"user": _LABELLED["user"].format(user, host), "host": _LABELLED["host"].format(host, user)}
        known = {name: pattern for name, pattern in patterns.items() if name in self.values}
        groups = [name for name, pattern in known.items() for _ in range(re.compile(pattern).groups)]
        return groups, compiled("|".join(known.values())) if known else None

    def find(self, text: bytes) -> Iterator[tuple[int, int, str, str | None]]:
        """Where the values stand in UTF-8 text: start, end, name and form, in no order.

        What lies in a temporary folder moves with it, so both are one value, which has no form.
        """
        for start, end in self._literals.find(text):
            name, form = self._by_text[text[start:end]]
            if name == "tmp":
                entry = _ENTRY.match(text, end)
                yield start, entry.end() if entry else end, name, None
                continue
            yield start, end, name, form
            if name == "home":
                yield from self._below(text, end)
        groups, pattern = self._names
        for found in pattern.finditer(text) if pattern else ():
            group = next(group for group in range(1, len(groups) + 1) if found.start(group) >= 0)
            yield *found.span(group), groups[group - 1], "name"

    def _below(self, text: bytes, end: int) -> Iterator[tuple[int, int, str, str]]:
        """The folder's name as a segment of a path that goes on here."""
        name = self.forms.get(("cwd", "name"), "").encode("utf-8", "surrogatepass")
        tail = _SEGMENTS.match(text, end)
        if not name or not tail:
            return
        for found in re.finditer(rb"(?<=[/\\])" + re.escape(name) + rb"(?=[/\\]|$|\.?$)", tail[0]):
            if stands_alone(text, end + found.start(), end + found.end()):
                yield end + found.start(), end + found.end(), "cwd", "name"


def _is_telling(text: str, name: str) -> bool:
    """Whether a host's name can be nothing else: a container's id, `build-7.example`."""
    return name == "host" and len(text) >= 6 and bool(re.search(r"\d", text)) and bool(re.search(r"[a-zA-Z]", text))


def _forms(path: str) -> Iterator[tuple[str, str]]:
    """The forms of a folder's path that differ from it, and the path itself."""
    escaped = json.dumps(path, ensure_ascii=False)[1:-1]
    yield "", path
    yield "escaped", escaped
    yield "escaped twice", json.dumps(escaped, ensure_ascii=False)[1:-1]
    yield "ascii", json.dumps(path)[1:-1]
    yield "slashes", path.replace("\\", "/")
    yield "url", quote(path.replace("\\", "/"), safe="/:")
    dashed = re.sub(r"[^A-Za-z0-9]", "-", path).strip("-")
    if dashed.count("-") >= 2:
        yield "dashed", dashed
