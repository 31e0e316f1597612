"""Only the inputs of a batch that are not known go upstream, in a request that says the same of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.cache.batches import Batch, open_batch
from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import FormatError
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

NOW = 1_700_000_000.0
KNOWN = "known"


def opened(folder: Path, member: str, inputs: list[str]) -> Batch:
    """The batch of these inputs, with one more member in the request; the first input is stored."""
    core = Cache(Settings.load({}), DiskStore(folder, 2**24), loopback=True)

    def request(text: Any) -> Request:
        body = f'{{"model": "e", {member}, "input": {json.dumps(text)}}}'.encode()
        return Request("https://api.example/v1", "/embeddings", (), {}, body)

    answer = {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    response = Response(200, {"content-type": "application/json"}, json.dumps(answer).encode(), 1.0)
    entry = core.judge(core.plan(request(inputs[0])), response, NOW)
    assert isinstance(entry, Entry)
    core.keep(entry, NOW)
    batch = open_batch(core, core.plan(request(inputs)), NOW)
    assert batch
    return batch


@pytest.mark.parametrize(
    ("member", "unknown"),
    [
        ('"dimensions": 5', "new"),
        ('"seed": 123456789012345678901234567890', "new"),
        ('"user": "\\ud83d"', "new"),
        ('"dimensions": 5', "half of a \ud83d"),
    ],
)
def test_the_rest_of_a_batch_is_written_as_the_client_wrote_it(tmp_path: Path, member: str, unknown: str) -> None:
    batch = opened(tmp_path, member, [KNOWN, unknown])
    assert json.loads(batch.forward) == json.loads(f'{{"model": "e", {member}}}') | {"input": [unknown]}


def test_a_batch_that_cannot_be_written_in_part_is_not_split(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        opened(tmp_path, '"scale": 1e999', [KNOWN, "new"])
