"""A body whose pictures are known is parsed as any other is, whatever stands where a picture might."""

from __future__ import annotations

import json
import random

import pytest

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.keys import lifting
from computer_use_cache.keys.canonical_json import canonical, parse_body
from computer_use_cache.screens.picture import picture_of
from pictures import PNG, coded

DATA = coded(PNG + random.Random(5).randbytes(150_000))
URL = f"data:image/png;base64,{DATA}"
OTHER = coded(PNG + random.Random(6).randbytes(150_000))
"""A picture that was never met."""

BODIES = {
    "a data URL": json.dumps({"url": URL, "after": 1.50}),
    "base64 alone, twice": json.dumps([{"data": DATA}, {"data": DATA}, "text"]).join(('{"list":', "}")),
    "without white space": json.dumps({"url": URL, "data": DATA}, separators=(",", ":")),
    "in a list": json.dumps({"urls": [URL, DATA]}),
    "one known, one new": json.dumps({"a": OTHER, "b": DATA}),
    "as the name of a member": json.dumps({DATA: 1, "a": DATA}),
    "quoted in a text": json.dumps({"text": f'he wrote "{DATA}" and, "{URL}"'}),
    "after a quote in a text": json.dumps({"text": f'he wrote "{DATA}'}),
    "text after it": json.dumps({"text": DATA + " and more"}),
    "with an escaped slash": json.dumps({"url": URL}).replace("/", "\\/"),
    "longer than the known one": json.dumps({"data": DATA + "AAAA"}),
    "a member twice": f'{{"a": "{DATA}", "a": "{DATA}"}}',
    "broken after it": f'{{"a": "{DATA}", oh}}',
    "broken off in it": f'{{"a": "{DATA}", "b": "{DATA[:-8]}',
    "no object": f'["{DATA}"]',
    "beyond 64 bits": f'{{"a": "{DATA}", "b": 123456789012345678901234567890}}',
    "behind a closed text": f'{{"a": "x "{DATA}", "b": 1}}',
}


def outcome(parse: object, body: bytes) -> tuple[object, ...]:
    assert callable(parse)
    try:
        return (canonical(parse(body)),)
    except (RequestError, FormatError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_parsed_as_without_lifting(name: str) -> None:
    for text in (URL, DATA):
        picture_of(text)
    body = BODIES[name].encode()
    assert len(body) >= lifting._LONG
    assert outcome(lifting.parse, body) == outcome(parse_body, body)


def test_a_known_picture_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = picture_of(URL)
    parsed: list[bytes] = []
    monkeypatch.setattr(lifting, "parse_body", lambda body: parsed.append(body) or parse_body(body))
    body = lifting.parse(json.dumps({"a": URL, "b": OTHER}).encode())
    assert body["a"] is known.text
    assert [len(body) for body in parsed] == [pytest.approx(len(OTHER), abs=200)]
