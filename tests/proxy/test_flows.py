"""A flow's request can be replaced by one for another model, wherever the API names it."""

from __future__ import annotations

import gzip
import json

import pytest
from mitmproxy.test import tflow, tutils

from computer_use_cache.exchange.forking import with_model
from computer_use_cache.proxy import flows
from computer_use_cache.settings import Settings


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1beta/models/a:streamGenerateContent?alt=sse", "/v1beta/models/b%3A0:streamGenerateContent?alt=sse"),
        ("/openai/deployments/a/embeddings?api-version=1", "/openai/deployments/b%3A0/embeddings?api-version=1"),
        ("/model/a/converse", "/model/b%3A0/converse"),
    ],
)  # fmt: skip
def test_the_model_is_replaced_in_the_path_or_in_the_body(path: str, expected: str) -> None:
    body = {"model": "a"} if path == "/v1/chat/completions" else {}
    headers = ((b"content-encoding", b"gzip"), (b"content-type", b"application/json"))
    sent = tutils.treq(
        method=b"POST", path=path.encode(), headers=headers, content=gzip.compress(json.dumps(body).encode())
    )
    flow, settings = tflow.tflow(req=sent), Settings.load({"UPSTREAM_BASE_URL": "https://other.example"})
    changed = with_model(flows.request_of(flow, settings), "b:0")
    flows.replace_request(flow, changed)
    assert flow.request.path == expected
    assert json.loads(flow.request.content or b"") == ({"model": "b:0"} if body else {})
    again = flows.request_of(flow, settings)
    assert (again.upstream, again.path, again.query) == (changed.upstream, changed.path, changed.query)
