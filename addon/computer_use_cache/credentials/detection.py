"""Finds credentials in texts by their form and by the labels before them.

Most forms are redact-secret's rules. Of the maintained rule sets, it finds the most kinds, releases the interpreter's
lock, returns spans of a `str` and has wheels for every platform. It takes 6 ms for 100 KB; detect-secrets and
betterleaks take 18, and betterleaks brings Go's runtime into the process. `forms` adds the forms it lacks and replaces
its rule for labels. In 168 MB of code and documentation there were ten false alarms, all made to look real.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from computer_use_cache.credentials.forms import Secret, find_by_form, find_by_label, pattern
from computer_use_cache.credentials.randomness import is_placeholder
from computer_use_cache.formats import walking


class Found(NamedTuple):
    """A text of a body that holds credentials, and its place: `("messages", 0, "content")`."""

    place: walking.Place
    text: str
    secrets: list[Secret]


SHORTEST = 12
"""No credential is shorter."""

_ESCAPES = ((r"\n", " \n"), (r"\r", "  "), (r"\t", "  "), (r"\"", '""'))
"""In JSON inside a text, a line break is written `\\n`, whose `n` would hide the beginning of the next word."""
_NESTED_ESCAPE = re.compile(r"\\(?<!\\\\)\\+([nrt\"])")
"""In JSON inside such JSON, it has two or more backslashes. A run of them is tried at its beginning only."""

_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{2048,}")
_STRIDE = 2048
"""Base64 of this length without a break is a picture or a file; the parts of a token are shorter."""

_NEIGHBOURS = 40
_IN_BASE64 = re.compile(r"(?=.*[A-Z])[A-Za-z0-9+/_-]{40}")

_WORD = "[A-Za-z0-9_+~-]"
_LONG_WORDS = r"[78]Q~|\bpat[A-Za-z0-9]{14}\.[0-9a-f]|[0-9a-f-]{20}[g-zA-Z_+~]|" + "|".join(
    rf"(?:^|[^A-Za-z0-9_+~-])[0-9a-f-]{{{at}}}[g-zA-Z_+~]{_WORD}{{{19 - at}}}" for at in range(20)
)
"""A word of 20 characters or more that is neither a hash nor a UUID."""
_LABELS = (
    r"(?i:pass|pwd|secret|token|key|auth|cred)[\w\"'`\] -]{0,12}[\"'`\]]*[ \t]*[:=>]"
    r"|(?i:--pass|--token|--secret|password |bearer |basic | -u)|://[^\s/]*@"
)
_SUSPECT = rf"(?m)(?:^.*(?:{_LONG_WORDS}|{_LABELS}).*(?:\n|\z))+"
"""Lines with such a word, a label or a login, about a tenth of all lines. Only these are searched, which makes the
search three times as fast."""

_PRIVATE_KEY = (
    r"-----BEGIN[A-Z0-9 ]* PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[A-Za-z0-9+/=\s:,.()-]*?-----END[A-Z0-9 ]* PRIVATE KEY(?: BLOCK)?-----|(?:\s*[A-Za-z0-9+/=]{16,})+)"
)
_KEY_DATA = re.compile(r"[A-Za-z0-9+/=]{24}")

_OWN_RULES = frozenset(
    ("contextual secret", "connection string password", "bearer token", "authorization credential", "private key")
)
"""Kinds of redact-secret that are found here instead: those recognised by a label, and those that span lines."""


def find_in_text(text: str) -> list[Secret]:
    """The credentials in a text, in order and without overlaps.

    Takes 3 ms for 100 KB of code or prose, ten times as long where most lines are suspect: call it off the event loop.
    """
    if len(text) < SHORTEST:
        return []
    readable = _without_escapes(text.encode("utf-8", "replace").decode())  # no lone surrogates
    found = [
        Secret(secret.kind, secret.start + shift, secret.end + shift)
        for shift, piece in _without_encoded_data(readable)
        for secret in (*_find_private_keys(piece), *_find_in_lines(piece))
    ]
    chosen: list[Secret] = []
    for secret in sorted(found, key=lambda each: (each.start, -each.end)):
        is_new = not chosen or secret.start >= chosen[-1].end
        if is_new and not _is_in_base64(text, secret):
            chosen.append(secret)
    return chosen


def find_in_body(body: Mapping[str, Any]) -> Iterator[Found]:
    """The texts of a request's or an answer's body that hold credentials. As slow as `find_in_text`."""
    for node, text in walking.placed_texts(body):
        if secrets := find_in_text(text):
            yield Found(walking.place_of(node), text, secrets)


def _without_escapes(text: str) -> str:
    """`text` with JSON's escapes replaced by the white space and quotes that they mean, at the same length."""
    if "\\\\" in text:
        text = _NESTED_ESCAPE.sub(_meaning, text)
    if "\\" in text:
        for escape, meant in _ESCAPES:
            text = text.replace(escape, meant)
    return text


def _meaning(escape: re.Match[str]) -> str:
    length = len(escape[0])
    if escape[1] == '"':
        return '"' * length
    return ("\n" if escape[1] == "n" else " ").rjust(length)


def _without_encoded_data(text: str) -> Iterator[tuple[int, str]]:
    """The pieces of a text between pictures and files, each with its position.

    A run of at least two strides covers a whole stride from one of its multiples, so only multiples are tried.
    """
    done = 0
    for at in range(0, len(text), _STRIDE):
        if at >= done and (run := _ENCODED.match(text, at)):
            yield done, text[done:at]
            done = run.end()
    yield done, text[done:]


def _find_private_keys(text: str) -> Iterator[Secret]:
    if " PRIVATE KEY" in text:
        for found in pattern(_PRIVATE_KEY).finditer(text):
            if _KEY_DATA.search(found[0]) and "..." not in found[0]:
                yield Secret("private key", *found.span())


def _find_in_lines(text: str) -> Iterator[Secret]:
    import redact_secret  # noqa: PLC0415

    lines = [found.span() for found in pattern(_SUSPECT).finditer(text)]
    searched = "\n".join(text[start:end] for start, end in lines)
    if not searched:
        return
    starts, shifts, at = [], [], 0
    for start, end in lines:
        starts.append(at)
        shifts.append(start - at)
        at += end - start + 1
    ruled = (Secret(each.type.replace("_", " "), each.start, each.end) for each in redact_secret.scan(searched))
    for secret in (*ruled, *find_by_form(searched), *find_by_label(searched)):
        if secret.kind not in _OWN_RULES and not is_placeholder(searched[secret.start : secret.end]):
            shift = shifts[bisect.bisect_right(starts, secret.start) - 1]
            yield Secret(secret.kind, secret.start + shift, secret.end + shift)


def _is_in_base64(text: str, secret: Secret) -> bool:
    """True for a find that begins or ends inside a longer run of base64, where any short form may occur by chance."""
    before = text[max(secret.start - _NEIGHBOURS, 0) : secret.start]
    after = text[secret.end : secret.end + _NEIGHBOURS]
    return bool(_IN_BASE64.fullmatch(before) or _IN_BASE64.fullmatch(after))
