"""An entry survives as bytes; damaged bytes are not decoded."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import pickle
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from computer_use_cache.models import Entry, RequestRecord, Shape
from computer_use_cache.store import codec
from computer_use_cache.store.codec import decode, decode_media, encode, encode_media
from support import completion

ENTRY = Entry(
    key="ab" * 32,
    format="chat_completions",
    shape=Shape.SSE,
    model="m",
    namespace="run 42",
    headers=(("content-type", "text/event-stream"), ("x-request-id", "r")),
    body=b"data: {}\n\n" * 20,
    created_at=1_700_000_000.25,
    expires_at=None,
    seconds=0.5,
    with_usage=False,
    chunks=((120, 3), (80, 900)),
    input_tokens=12,
    output_tokens=34,
    usd=0.00125,
)
LARGE = replace(ENTRY, body=random.Random(1).randbytes(70_000))


@given(
    st.builds(
        Entry,
        key=st.text(),
        format=st.text(),
        shape=st.sampled_from(Shape),
        model=st.text(st.characters(exclude_categories=[])),
        namespace=st.text(),
        headers=st.lists(st.tuples(st.text(), st.text(st.characters(exclude_categories=[])))).map(tuple),
        body=st.binary(),
        created_at=st.floats(0, 1e11),
        expires_at=st.none() | st.floats(0, 1e11),
        seconds=st.floats(0, 1e6),
        with_usage=st.booleans(),
        chunks=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40))).map(tuple),
        input_tokens=st.integers(0, 10**12),
        output_tokens=st.integers(0, 10**12),
        usd=st.none() | st.floats(0, 1e9),
    )
)
def test_an_entry_survives_as_bytes(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@pytest.mark.parametrize("size", range(len(encode(ENTRY))))
def test_a_truncated_entry_cannot_be_read(size: int) -> None:
    assert decode(encode(ENTRY)[:size]) is None


@pytest.mark.parametrize("position", range(len(encode(ENTRY))))
def test_an_entry_with_a_flipped_byte_cannot_be_read(position: int) -> None:
    data = bytearray(encode(ENTRY))
    data[position] ^= 0xFF
    assert decode(bytes(data)) is None


@pytest.mark.parametrize("entry", [ENTRY, LARGE], ids=["small", "large"])
def test_a_flipped_bit_never_makes_another_entry(entry: Entry) -> None:
    data = encode(entry)
    for position in (*range(40), *range(len(data) - 40, len(data))):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            # zstd itself does not look at one bit of its header; then the entry is unharmed.
            assert decode(bytes(flipped)) in (None, entry)


def framed(payload: bytes) -> bytes:
    return encode(ENTRY)[:1] + zstandard.compress(payload)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" + encode(ENTRY)[1:],
        b"\x03" + encode(ENTRY)[1:],
        pickle.dumps(ENTRY.body),
        framed(b""),
        framed(b"\xc1"),
        framed(msgpack.packb(1)),
        framed(msgpack.packb([])),
        framed(msgpack.packb(["k", "f", "no shape", *[None] * 8])),
        framed(msgpack.packb(["k", "f", 1, *[None] * 8])),
        framed(msgpack.packb(["k", "f", {"json": 1}, *[None] * 8])),
        framed(msgpack.packb(["k", "f", "json"])),
        framed(msgpack.packb(["k", "f", "json", *[None] * 30])),
        framed(msgpack.packb("text")),
        framed(pickle.dumps(ENTRY.body)),
        b"\x01\x28\xb5\x2f\xfd\xe4" + (2**62).to_bytes(8, "little") + b"\0\0\0\0\0",
    ],
)
def test_bytes_of_other_versions_cannot_be_read(data: bytes) -> None:
    assert decode(data) is None


def test_an_entry_of_the_first_version_is_read() -> None:
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(msgpack.packb(astuple(ENTRY)))
    assert decode(b"\x01" + frame) == ENTRY


@pytest.mark.parametrize("parts", [(), ((1, -(2**63)),)], ids=["now", "stored with its parts"])
def test_a_request_of_any_version_is_read(parts: tuple[tuple[int, ...], ...]) -> None:
    record = RequestRecord("http://up/v1", "/chat/completions", "a=b", (("openai-beta", "x"),), b'{"model":"m"}')
    fields = (record.upstream, record.path, record.query, record.headers, record.body)
    assert codec.decode_request(framed(msgpack.packb((*fields, *parts)))) == record


def test_parts_take_no_space_in_a_stored_request() -> None:
    record = RequestRecord("http://up/v1", "/completions", "", (), b"{}")
    assert codec.encode_request(dataclasses.replace(record, parts=(2**62,))) == codec.encode_request(record)


def test_the_dictionary_is_the_one_that_entries_were_written_with() -> None:
    dictionary = Path(codec.__file__).with_name("codec_dictionary.txt").read_bytes()
    assert (
        hashlib.sha256(dictionary).hexdigest() == "a6460d16baaf8a2fbd5aaeb0fe6a42612b3e629a9bcad7385ce7014a147cff2b"
    ), "another dictionary needs another version"


def test_what_the_apis_have_in_common_takes_little() -> None:
    body = json.dumps(completion("Hello.")).encode()
    assert len(encode(replace(ENTRY, body=body, chunks=()))) < 0.7 * len(body)


@given(st.binary())
def test_arbitrary_bytes_are_none(data: bytes) -> None:
    assert decode(encode(ENTRY)[:1] + data) is None


def test_threads_do_not_disturb_each_other() -> None:
    entries = [replace(LARGE, key=str(number)) for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(decode, threads.map(encode, entries))) == entries


@pytest.mark.parametrize("size", [3000, 3001, 3002])
@pytest.mark.parametrize("encoded", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_a_base64_text_is_given_back_in_its_own_spelling(
    size: int, encoded: Callable[[bytes], bytes], padded: bool
) -> None:
    data = random.Random(size).randbytes(size)
    text = encoded(data).decode() if padded else encoded(data).decode().rstrip("=")
    assert encode_media(text) == data
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert decode_media(data, digest) == text
    assert decode_media(data + b"x", digest) is None


@pytest.mark.parametrize("text", ["+A_A" * 400, "A" * 1025, "A" * 1022 + "B=", "AAAA" * 300 + "=", "AB==" * 2])
def test_a_text_that_could_not_be_made_of_its_bytes_again_has_none(text: str) -> None:
    assert encode_media(text) is None
