"""Model calls that pass by the cache are counted by host and route, with the setting that would cache them."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

import support
from support import Proxy, Upstream, always, running_proxy

CALL = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = support.response(b'{"done": true}')
FORWARD = "127.0.0.2"


def unseen(proxy: Proxy) -> list[dict[str, Any]]:
    found = proxy.stats()["unseen"]
    assert isinstance(found, list)
    return found


def ask_through(proxy: Proxy, url: str, body: Any) -> int:
    """A plain request through the forward proxy; its status."""
    address = re.search(rf"({FORWARD}):([0-9]+)", "".join(proxy.log))
    assert address
    connection = http.client.HTTPConnection(address[1], int(address[2]), timeout=30)
    connection.request("POST", url, json.dumps(body), {"content-type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_call_to_a_route_that_is_not_cached_is_counted_and_passes_whole(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = always(ANSWER)
    origin = f"http://127.0.0.1:{upstream.port}"
    account = "a1" * 16
    for path in ("/generate", "/generate", "/gateway/responses", "/projects/own/generate", f"/{account}/responses"):
        proxy.post(path, CALL)
        assert json.loads(upstream.asked[-1].body) == CALL
    proxy.post("/files", {"purpose": "batch"})
    counted = {(one["host"], one["route"], one["setting"]): one["count"] for one in unseen(proxy)}
    assert counted == {
        ("127.0.0.1", "POST /generate", ""): 2,
        ("127.0.0.1", "POST /gateway/responses", f"UPSTREAM_BASE_URL={origin}/gateway"): 1,
        ("127.0.0.1", "POST /projects/*/generate", ""): 1,
        ("127.0.0.1", "POST /*/responses", f"UPSTREAM_BASE_URL={origin}/*"): 1,
    }


def test_a_call_to_a_host_that_is_not_cached_names_the_setting(tmp_path: Path, upstream: Upstream) -> None:
    upstream.handler = always(ANSWER)
    with running_proxy(tmp_path, f"http://127.0.0.1:{upstream.port}/v1", "--mode", f"regular@{FORWARD}:0") as proxy:
        proxy.log.wait_for(f"{FORWARD}:")
        for path, body in (("/v1/chat/completions", CALL), ("/own", CALL), ("/own", {"model": "m"})):
            assert ask_through(proxy, f"http://127.0.0.1:{upstream.port}{path}", body) == 200
            assert json.loads(upstream.asked[-1].body) == body
        told = [(one["route"], one["setting"], one["count"]) for one in unseen(proxy)]
        assert told == [
            ("POST /own", "CACHE_HOSTS=+127.0.0.1", 1),
            ("POST /v1/chat/completions", "CACHE_HOSTS=+127.0.0.1", 1),
        ]
        proxy.log.wait_for("POST /own at 127.0.0.1: this model call is not cached; CACHE_HOSTS=+127.0.0.1")
