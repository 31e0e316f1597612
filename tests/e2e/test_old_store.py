"""A store written by version 1.0.0 opens, serves hits and goes on.

`data/store_1_0_0.tar.xz` is its folder: the core of that version recorded generated answers to the requests below, from
the upstream http://127.0.0.1:9/v1 and with CACHE_TTL_SECONDS=0.
"""

from __future__ import annotations

import base64
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from computer_use_cache.store.base import Choice
from computer_use_cache.store.disk import DiskStore
from made import put
from support import Proxy, chat_request, running_proxy

UPSTREAM = "http://127.0.0.1:9/v1"
PICTURE = base64.b64encode(random.Random(1).randbytes(3000)).decode()
SHOWN = [
    {"type": "text", "text": "what is shown?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
]
CLAUDE = {"model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": "plain"}]}
LOOKING = {"model": "gpt-test", "messages": [{"role": "user", "content": SHOWN}]}
ASKED: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "JSON": ("/v1/chat/completions", chat_request("plain"), b"plain answer"),
    "a stream": ("/v1/chat/completions", chat_request("streamed", stream=True), b'{"content": "answer"}'),
    "JSON made of a stream": ("/v1/chat/completions", chat_request("streamed"), b'"streamed answer"'),
    "a request with a picture": (
        "/v1/chat/completions",
        {"model": "gpt-test", "messages": [{"role": "user", "content": SHOWN}]},
        b"a picture",
    ),
    "another API": ("/v1/messages", CLAUDE, b"anthropic answer"),
}


def unpack(folder: Path) -> None:
    with tarfile.open(Path(__file__).parent / "data" / "store_1_0_0.tar.xz") as archive:
        archive.extractall(folder / "store", filter="data")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    unpack(tmp_path)
    opened = DiskStore(tmp_path / "store", 2**30)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("old")
    unpack(folder)
    with running_proxy(folder, UPSTREAM) as running:
        yield running


@pytest.mark.parametrize("name", ASKED)
def test_its_entries_are_hits(proxy: Proxy, name: str) -> None:
    path, body, said = ASKED[name]
    answer = proxy.post(path, body)
    assert (answer.status, answer.cache) == (200, "HIT")
    assert said in answer.body


def test_its_requests_and_pictures_explain_misses(store: DiskStore) -> None:
    entries = list(store.entries())
    assert len(entries) == 4
    bodies = [record.body for entry in entries if (record := store.request(entry.key))]
    assert sum(b"what is shown?" in body for body in bodies) == 1
    assert store.counts() == {"hits": 7, "misses": 4, "last_updated_at": 1.75e9}


def test_its_entries_have_no_template_and_new_ones_beside_them_do(store: DiskStore) -> None:
    old = list(store.entries())
    assert {(entry.template, entry.bindings) for entry in old} == {("", b"")}
    new = replace(old[0], key="0" * 64, template="t", bindings=b"\x80")
    put(store, new, None)
    assert store.with_template("t") == [new.key]
    assert store.get(new.key) == new
    assert store.clear(Choice(model="gpt-test")) == 3 + (new.model == "gpt-test")
