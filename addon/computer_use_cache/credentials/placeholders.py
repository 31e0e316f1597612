"""Keeps credentials out of the store: `<secret 1>` stands in their place, and the value is put back on the way out.

Equal values have one number within a request, in the order in which they are found, so that the same conversation with
another credential gives the same texts. A value with a quote or a line break looks different inside JSON in a text, and
different again one level deeper: its placeholder says how often it is escaped (`<secret 1 escaped 2>`), so that any
other such value can take its place.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self
from urllib.parse import quote

from computer_use_cache.credentials.detection import find_in_body, texts
from computer_use_cache.credentials.randomness import looks_random

_PLACEHOLDER = re.compile(r"<secret ([0-9]+)(?: escaped ([0-2]))?>")
_DEPTHS = range(3)
_TELLING = 16
"""A random part of this length tells enough of a credential to count as one."""


class Placeholders:
    """The credentials of one request, and what stands in their places."""

    def __init__(self, values: Iterable[str]) -> None:
        """`values` are credentials as their owner writes them, not escaped."""
        self.values = tuple(dict.fromkeys(values))
        self._names = {
            form: name for number, value in enumerate(self.values, 1) for name, form in _forms(number, value)
        }
        self._originals = {name: form for form, name in self._names.items()}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Those of a body. Text that only looks like a placeholder counts as a credential, so that it is put back as
        it was. Slow: call it off the event loop."""
        values = []
        for found in find_in_body(body):
            values += [_unescaped(found.text[secret.start : secret.end]) for secret in found.secrets]
        lookalikes = (each[0] for text in texts(body) for each in _PLACEHOLDER.finditer(text))
        return cls([*values, *lookalikes])

    def hide(self, text: str) -> str:
        """`text` with a placeholder for every credential."""
        return self._pattern.sub(lambda found: self._names[found[0]], text) if self.values else text

    def restore(self, text: str) -> str | None:
        """`text` with every credential back in its place; None if a placeholder in it stands for no credential here."""
        if any(found[0] not in self._originals for found in _PLACEHOLDER.finditer(text)):
            return None
        return _PLACEHOLDER.sub(lambda found: self._originals[found[0]], text)

    def remain_in(self, hidden: str) -> bool:
        """True if a text from `hide` still tells a credential: encoded, or a part of one."""
        return any(form in hidden for value in self.values for form in (*_encodings(value), *_telling_parts(value)))


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """`value` (JSON) with every text in it changed, the names of members too."""
    match value:
        case str():
            return change(value)
        case dict():
            return {change(name): change_texts(item, change) for name, item in value.items()}
        case list():
            return [change_texts(item, change) for item in value]
    return value


def _forms(number: int, value: str) -> Iterable[tuple[str, str]]:
    """Each form that a credential takes in texts, with its placeholder."""
    if _escaped(value) == value:
        return [(f"<secret {number}>", value)]
    forms = [value]
    while len(forms) < len(_DEPTHS):
        forms.append(_escaped(forms[-1]))
    return [(f"<secret {number} escaped {depth}>", form) for depth, form in zip(_DEPTHS, forms, strict=True)]


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _unescaped(text: str) -> str:
    """The credential that was found as `text`, perhaps in JSON inside a text."""
    try:
        once = json.loads(f'"{text}"')
    except ValueError:
        return text
    return _unescaped(once) if once != text and _escaped(once) == text else text


def _encodings(value: str) -> Iterable[str]:
    data = value.encode("utf-8", "surrogatepass")
    yield data.hex()
    if (in_url := quote(value, safe="", errors="replace")) != value:
        yield in_url
    for before in range(3):
        # Base64 of a longer text: without the characters that also depend on what stands before and after.
        text = base64.b64encode(b"\0" * before + data).decode()[(before * 4 + 2) // 3 :]
        whole = text.rstrip("=")[: len(text) - 4] if text.endswith("=") or (before + len(data)) % 3 else text
        yield whole
        yield whole.replace("+", "-").replace("/", "_")


def _telling_parts(value: str) -> Iterable[str]:
    for at in range(0, len(value) - _TELLING):
        if looks_random(part := value[at : at + _TELLING]):
            yield part
