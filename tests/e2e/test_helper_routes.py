"""What agents ask beside their model calls: it goes upstream while that may be asked, and is replayed offline."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import support
from support import Asked, Proxy, Send, Upstream, running_proxy

MODELS = b'{"object":"list","data":[{"id":"m","owned_by":"o"}]}'
ROUTES = {
    "/v1/models": support.response(MODELS),
    "/v1/models/m": support.response(gzip.compress(MODELS), content_encoding="gzip"),
    "/api/hello": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    + support.chunk(b'{"message":"')
    + support.chunk(b'hello"}')
    + support.chunk(b""),
    "/api/show": support.response(b'{"details":{}}'),
}


async def answer(asked: Asked, send: Send) -> None:
    await send(ROUTES.get(asked.path.partition("?")[0], support.response(b"{}", 404)))


def asked_of(proxy: Proxy, path: str) -> support.Answer:
    return proxy.post(path, {"model": "m"}) if path == "/api/show" else proxy.ask("GET", path)


def test_helper_routes_answer_offline_as_they_did_and_live_go_upstream(tmp_path: Path, upstream: Upstream) -> None:
    upstream.handler = answer
    base = f"http://127.0.0.1:{upstream.port}/v1"
    with running_proxy(tmp_path, base) as proxy:
        live = {path: asked_of(proxy, path) for path in ROUTES}
        assert {one.cache for one in live.values()} == {"BYPASS"}
        assert asked_of(proxy, "/v1/models").cache == "BYPASS"
        assert proxy.ask("GET", "/v1/files").status == 404
        assert len(upstream.asked) == len(ROUTES) + 2
    upstream.stop()
    with running_proxy(tmp_path, base, CACHE_MODE="offline") as proxy:
        for path, earlier in live.items():
            replayed = asked_of(proxy, path)
            assert (replayed.status, replayed.cache) == (200, "HIT"), path
            plain = gzip.decompress(earlier.body) if path == "/v1/models/m" else earlier.body
            assert replayed.body == plain
        assert proxy.ask("GET", "/v1/files").json()["error"]["code"] == "cache_offline_miss"
        assert proxy.stats()["hits"] == len(ROUTES)


def test_an_answer_that_is_too_large_is_not_recorded_in_part(tmp_path: Path, upstream: Upstream) -> None:
    upstream.handler = too_large
    base = f"http://127.0.0.1:{upstream.port}/v1"
    with running_proxy(tmp_path, base, CACHE_MAX_RESPONSE_CHARS="10") as proxy:
        assert proxy.ask("GET", "/v1/models").body == b"[1,2,3]        "
    with running_proxy(tmp_path, base, CACHE_MODE="offline") as proxy:
        assert proxy.ask("GET", "/v1/models").status == 404


async def too_large(asked: Asked, send: Send) -> None:
    await send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    await send(support.chunk(b"[1,2,3]"))
    await send(support.chunk(b"        ") + support.chunk(b""))


@pytest.mark.parametrize(
    ("path", "headers", "has"),
    [
        ("/api/hello", {}, '"type":"error"'),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, '"type":"error"'),
        ("/v1beta/models", {}, '"status":'),
        ("/v1/models", {}, '"param":'),
    ],
)
def test_what_was_not_recorded_gets_the_error_of_its_api(
    offline: Proxy, path: str, headers: dict[str, str], has: str
) -> None:
    answer = offline.ask("GET", path, None, headers)
    assert 400 <= answer.status < 500
    assert has in answer.body.decode()
    assert "CACHE_MODE=offline" in answer.body.decode()


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> object:
    with running_proxy(tmp_path_factory.mktemp("offline"), "http://127.0.0.1:9/v1", CACHE_MODE="offline") as proxy:
        yield proxy
