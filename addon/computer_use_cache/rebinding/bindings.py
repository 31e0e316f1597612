"""What a run knows about itself: its folder, home, user, host and temporary folder, and the forms in which they appear.

A bare name (`project`, `anna`) can occur in any prompt, so it counts only where it cannot mean anything else: a
folder's name as a segment of a path below the home or after a label, a user or host after its label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from computer_use_cache.rebinding.kinds import compiled
from computer_use_cache.rebinding.literals import Literals, stands_alone

FOLDERS = ("cwd", "home", "tmp")
NAMES = ("user", "host")
CONSTANT = ("cwd", "home", "user", "host")
"""The bindings that have a single value in a run; paths in a temporary folder have many."""
_COMMON_TMP = ("/tmp", "/var/tmp", "/private/tmp")  # noqa: S108 (nothing is written there)
"""The kind `tmp` finds paths in these folders by itself."""
_ENTRY = re.compile(rb"[/\\]+[\w.+@%=~-]*\w(?:[/\\]+\d{10,19}\b)?")
_SEGMENTS = re.compile(rb"[\w.+@%=~/\\-]*")
_CLIMBED = r"(?:^|[^\w./-])((?:\.\./)*\.\.)/\.\w"
"""A relative path from the folder up to the home, followed by one of the home's hidden files."""
_LABEL = rb"""\b[\"'\\]{0,4}\s?[:=>]?\s?[\"'\\]{0,4}$"""
_BEFORE = {
    "user": re.compile(rb"(?i:\b(?:user(?:[ _-]?name)?|logname))" + _LABEL + rb"|[d-][rwxsStT-]{9}[.+@]?\s+\d+\s+$"),
    "host": re.compile(rb"(?i:\bhost(?:[ _-]?name)?)" + _LABEL + rb"|\b(?:Linux|Darwin) $"),
    "cwd": re.compile(
        rb"(?i:\b(?:project|workspace|repo(?:sitory)?|folder|directory)(?:[ _-]?name)?)"
        rb"""[\"'\\*`]{0,4}\s?[:=][\"'\\*`]{0,4}\s?[\"'\\*`]{0,4}$"""
    ),
}
"""What precedes the name of a user, a host or a folder: a label, columns of `ls -l`, the system in `uname -a`."""
_GOES_ON = re.compile(rb"[/\\]|[.-]\w")
"""What follows a name that is the beginning of a longer one, or of a path."""
_FARTHEST = 32
"""How many bytes before a name are searched for its label."""


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
            forms["home", "up"] = "/".join([".."] * len(re.findall(r"[/\\]+", cwd[len(home) :])))
        for name in NAMES:
            if value := self.values.get(name, ""):
                forms[name, "name"] = value
        if folder_name := re.split(r"[/\\]", cwd)[-1]:
            forms["cwd", "name"] = folder_name
        return forms

    @cached_property
    def _by_text(self) -> Mapping[bytes, tuple[str, str]]:
        paths = {
            (name, form): text
            for (name, form), text in self.forms.items()
            if form not in ("name", "up") or (name == "host" and _is_telling(text))
        }
        return {text.encode("utf-8", "surrogatepass"): key for key, text in reversed(paths.items())}

    @cached_property
    def _literals(self) -> Literals:
        return Literals(self._by_text)

    def find(self, text: bytes) -> Iterator[tuple[int, int, str, str | None]]:
        """Where the values occur in UTF-8 text: start, end, name and form, in no order.

        A path in a temporary folder moves with the folder, so the two are one value, which has no form.
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
        yield from self._climbed(text)
        yield from self._named(text)

    def _climbed(self, text: bytes) -> Iterator[tuple[int, int, str, str]]:
        up = self.forms.get(("home", "up"), "").encode()
        if up and b"../." in text:
            for found in compiled(_CLIMBED).finditer(text):
                if found[1] == up:
                    yield *found.span(1), "home", "up"

    def _named(self, text: bytes) -> Iterator[tuple[int, int, str, str]]:
        user, host = (self.values.get(name, "").encode("utf-8", "surrogatepass") for name in NAMES)
        folder = self.forms.get(("cwd", "name"), "").encode("utf-8", "surrogatepass")
        address = user + b"@" + host
        for name, value in (("user", user), ("host", host), ("cwd", folder)):
            at = text.find(value) if value else -1
            while at >= 0:
                end = at + len(value)
                is_address = (
                    name in NAMES
                    and user
                    and host
                    and text.startswith(address, at if name == "user" else at - len(user) - 1)
                )
                before = text[max(0, at - _FARTHEST) : at]
                is_part = before.endswith((b"/", b"\\", b"-")) or _GOES_ON.match(text, end)
                if not is_part and stands_alone(text, at, end) and (is_address or _BEFORE[name].search(before)):
                    yield at, end, name, "name"
                at = text.find(value, end)

    def _below(self, text: bytes, end: int) -> Iterator[tuple[int, int, str, str]]:
        """The folder's name as a segment of a path that goes on here."""
        name = self.forms.get(("cwd", "name"), "").encode("utf-8", "surrogatepass")
        tail = _SEGMENTS.match(text, end)
        if not name or not tail:
            return
        for found in re.finditer(rb"(?<=[/\\])" + re.escape(name) + rb"(?=[/\\]|$|\.?$)", tail[0]):
            if stands_alone(text, end + found.start(), end + found.end()):
                yield end + found.start(), end + found.end(), "cwd", "name"


def _is_telling(text: str) -> bool:
    """Whether a host's name is unmistakable: a container's id, `build-7.example`."""
    return len(text) >= 6 and bool(re.search(r"\d", text)) and bool(re.search(r"[a-zA-Z]", text))


def _forms(path: str) -> Iterator[tuple[str, str]]:
    """The forms of a folder's path that differ from it, and the path itself."""
    escaped = json.dumps(path, ensure_ascii=False)[1:-1]
    yield "", path
    yield "escaped", escaped
    yield "escaped twice", json.dumps(escaped, ensure_ascii=False)[1:-1]
    yield "ascii", json.dumps(path)[1:-1]
    if path.startswith(("/tmp/", "/var/")):  # noqa: S108 (nothing is written there)
        yield "private", f"/private{path}"  # where these are links on macOS
    yield "slashes", path.replace("\\", "/")
    yield "url", quote(path.replace("\\", "/"), safe="/:")
    dashed = re.sub(r"[^A-Za-z0-9]", "-", path).strip("-")
    if dashed.count("-") >= 2:
        yield "dashed", dashed
