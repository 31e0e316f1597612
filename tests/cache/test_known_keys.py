"""A key that is remembered is the key that would be computed, and no other request gets it."""

from __future__ import annotations

import hashlib
import random
import zlib
from typing import Any

import pytest

from computer_use_cache.cache import known_keys
from computer_use_cache.cache.known_keys import KnownKeys
from computer_use_cache.formats import FORMATS
from computer_use_cache.keys import key
from computer_use_cache.screens.picture import map_pictures, without_metadata
from pictures import coded

CHAT = next(format for format in FORMATS if format.name == "chat_completions")


def png(seed: int, comment: bytes = b"") -> str:
    size = b"\0\0\5\0\0\0\3\x20\x08\2\0\0\0"
    parts = ((b"IHDR", size), (b"tEXt", comment), (b"IDAT", random.Random(seed).randbytes(3000)), (b"IEND", b""))
    chunks = (
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in parts
        if data or kind == b"IEND"
    )
    return "data:image/png;base64," + coded(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def asked(*urls: Any) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


def computed(body: Any, counted: str = "") -> str:
    return key.finish(hashlib.sha256(), map_pictures(CHAT, body, without_metadata), counted)


def test_requests_have_the_same_keys_the_second_time() -> None:
    keys = KnownKeys()
    one, two = png(1), png(2)
    bodies = [asked(one), asked(two), asked(one, two), asked(two, one), asked("<0>"), asked("short"), {"model": "m"}]
    expected = [computed(body) for body in bodies]
    assert len(set(expected)) == len(bodies)
    for _ in range(2):
        assert [keys.key(hashlib.sha256(), CHAT, body, "") for body in bodies] == expected
        assert keys.key(hashlib.sha256(b"another scope"), CHAT, bodies[0], "") != expected[0]
        assert keys.key(hashlib.sha256(), CHAT, bodies[0], "credential") == computed(bodies[0], "credential")


def test_pictures_that_differ_in_metadata_share_a_key() -> None:
    keys = KnownKeys()
    found = {keys.key(hashlib.sha256(), CHAT, asked(png(3, comment)), "") for comment in (b"", b"a\0one", b"a\0two")}
    assert found == {computed(asked(png(3)))}


def test_a_known_key_is_found_without_hashing_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KnownKeys()
    first = keys.key(hashlib.sha256(), CHAT, asked(png(4)), "")
    hashed: list[int] = []
    finish = key.finish_written
    monkeypatch.setattr(
        known_keys.key,
        "finish_written",
        lambda start, pieces, *more: hashed.append(sum(map(len, pieces))) or finish(start, pieces, *more),
    )
    assert keys.key(hashlib.sha256(), CHAT, asked(png(4)), "") == first
    assert [length < 200 for length in hashed] == [True]


def test_a_text_that_orjson_cannot_write_has_the_key_that_the_slow_encoder_gives() -> None:
    for url in ("\ud800" + png(5), png(6) + 'a "quoted" \\ é', "x" * 2000 + "\ud800"):
        assert KnownKeys().key(hashlib.sha256(), CHAT, asked(url, png(7)), "") == computed(asked(url, png(7)))
