"""When the upstream fails, an entry past its TTL is the answer, for as long as the setting says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.store.disk import DiskStore
from recorded import put_chat
from support import (
    STREAM_HEAD,
    Asked,
    Proxy,
    Send,
    Upstream,
    always,
    answer_chat,
    chat_events,
    chunk,
    completion,
    response,
    running_proxy,
)

JSON = json.dumps(completion("pong")).encode()
SSE = b"".join(chat_events("po", "ng"))
EXPIRED = {"CACHE_TTL_SECONDS": "60", "CACHE_STALE_IF_ERROR_SECONDS": "3600"}


@dataclass
class Site:
    """An upstream that fails as a test wants, and a proxy whose store the test fills."""

    upstream: Upstream
    proxy: Proxy
    store: DiskStore

    def expired(self, text: str, body: bytes = JSON) -> None:
        """Have the entry of a chat request be one that was recorded 100 seconds ago, and expired 40 seconds ago."""
        put_chat(self.store, self.upstream, text, body, 100, **EXPIRED)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, upstream = tmp_path_factory.mktemp("stale"), Upstream()
    store = DiskStore(folder / "store", 2**24)
    with running_proxy(folder, upstream.url, UPSTREAM_TIMEOUT_SECONDS="0.5", **EXPIRED) as proxy:
        yield Site(upstream, proxy, store)
    store.close()
    upstream.close()


@pytest.fixture
def site(running: Site) -> Site:
    """The site, its upstream well and not asked yet."""
    upstream = running.upstream
    upstream.handler, upstream.keep_alive, upstream.resets = answer_chat, True, False
    upstream.asked.clear()
    return running


async def hang(asked: Asked, send: Send) -> None:
    await asyncio.Event().wait()


async def drop(asked: Asked, send: Send) -> None:
    raise ConnectionResetError


async def hang_halfway(asked: Asked, send: Send) -> None:
    await send(response(JSON)[:-10])
    await asyncio.Event().wait()


def refusal(status: int) -> Callable[[Asked, Send], Any]:
    return always(response(b'{"error": {"message": "no"}}', status, retry_after="7"))


FAILURES = {
    "429": (refusal(429), "; fwd-status=429"),
    "500": (refusal(500), "; fwd-status=500"),
    "529": (refusal(529), "; fwd-status=529"),
    "a page that says 502": (always(response(b"<html>", 502, "text/html")), "; fwd-status=502"),
    "an event stream that says 503": (always(response(SSE, 503, "text/event-stream")), "; fwd-status=503"),
    "silence": (hang, ""),
    "silence in the body": (hang_halfway, ""),
    "a dropped connection": (drop, ""),
    "no HTTP": (always(b"220 mail.example ESMTP\r\n\r\n"), ""),
}


@pytest.mark.parametrize("body", [JSON, SSE], ids=["recorded JSON", "recorded stream"])
@pytest.mark.parametrize("stream", [False, True], ids=["asked for JSON", "asked for a stream"])
@pytest.mark.parametrize(("handler", "how"), FAILURES.values(), ids=FAILURES)
def test_an_upstream_that_fails_is_stood_in_for_by_an_expired_entry(
    site: Site, request: pytest.FixtureRequest, handler: Any, how: str, stream: bool, body: bytes
) -> None:
    text = request.node.name
    site.expired(text, body)
    site.upstream.handler = handler
    answer = site.proxy.chat(text, stream=stream)
    assert (answer.status, answer.cache, len(site.upstream.asked)) == (200, "STALE", 1)
    assert f"computer-use-cache; fwd=stale{how}; ttl=-4" in answer.headers["cache-status"]
    assert 100 <= int(answer.headers["age"]) < 110
    assert answer.headers["x-computer-use-cache-age"] == answer.headers["age"]
    assert "retry-after" not in answer.headers
    if stream:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert body is JSON or answer.body == SSE
    else:
        assert answer.json()["choices"][0]["message"]["content"] == "pong"
        assert body is SSE or answer.body == JSON


def test_an_upstream_that_refuses_connections_is_stood_in_for_and_the_entry_stays_as_it_was(
    tmp_path: Path, upstream: Upstream
) -> None:
    store = DiskStore(tmp_path / "store", 2**24)
    with running_proxy(tmp_path, upstream.url, **EXPIRED) as proxy:
        Site(upstream, proxy, store).expired("ping")
        upstream.stop()
        answers = [proxy.chat(), proxy.chat(stream=True), proxy.chat()]
        assert [answer.cache for answer in answers] == ["STALE"] * 3
        stats = proxy.stats()
        assert (stats["stale"], stats["hits"], stats["misses"], stats["entries"]) == (3, 0, 0, 1)
        assert (proxy.chat("new").status, proxy.chat("new").cache) == (502, "MISS")
    store.close()


@pytest.mark.parametrize("status", [400, 401, 404])
def test_an_error_that_is_the_clients_own_reaches_it(site: Site, status: int) -> None:
    site.expired("own error")
    site.upstream.handler = refusal(status)
    answer = site.proxy.chat("own error")
    assert (answer.status, answer.cache) == (status, "MISS")


def test_an_upstream_that_works_is_asked_and_replaces_the_expired_entry(site: Site) -> None:
    site.expired("works")
    assert site.proxy.chat("works").headers["x-computer-use-cache-store"] == "updated"
    assert site.proxy.chat("works").cache == "HIT"


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({"X-Cache-Mode": "readonly"}, "STALE"),
        ({"Cache-Control": "stale-if-error=600"}, "STALE"),
        ({"Cache-Control": "stale-if-error=30"}, "MISS"),
        ({"Cache-Control": "no-cache"}, "MISS"),
        ({"Cache-Control": "no-store"}, "MISS"),
        ({"Cache-Control": "max-age=1000"}, "MISS"),
        ({"X-Cache-Mode": "refresh"}, "MISS"),
        ({"X-Cache-Mode": "off"}, "BYPASS"),
        ({"X-Cache-Bypass": "1"}, "BYPASS"),
        ({"X-Cache-Namespace": "other"}, "MISS"),
    ],
    ids=str,
)
@pytest.mark.parametrize(("handler", "status"), [(refusal(503), 503), (drop, 502)], ids=["503", "dropped"])
def test_a_request_that_wants_no_old_answer_gets_the_failure(
    site: Site, headers: dict[str, str], outcome: str, handler: Any, status: int
) -> None:
    site.expired("controls")
    site.upstream.handler = handler
    answer = site.proxy.chat("controls", headers=headers)
    assert (answer.status, answer.cache) == (200 if outcome == "STALE" else status, outcome)


@pytest.mark.parametrize(("end", "status"), [(refusal(429), 429), (drop, 502)], ids=["429", "dropped"])
def test_who_waits_behind_a_call_that_fails_gets_the_expired_entry_too(site: Site, end: Any, status: int) -> None:
    gate = site.upstream.new_event()

    async def fail(asked: Asked, send: Send) -> None:
        await gate.wait()
        await end(asked, send)

    text = f"followed, then {status}"
    site.expired(text)
    site.upstream.handler = fail
    with ThreadPoolExecutor(5) as pool:
        leader = pool.submit(site.proxy.chat, text)
        site.upstream.wait_for(1)
        connected = sum("client connect" in line for line in site.proxy.log)
        followers = [pool.submit(site.proxy.chat, text, stream=stream) for stream in (False, True, False)]
        strict = pool.submit(site.proxy.chat, text, {"Cache-Control": "max-age=1000"})
        site.proxy.log.wait_for("client connect", connected + 4)
        site.proxy.stats()  # what was sent before it has been read
        gate.open()
        assert leader.result().cache == "STALE"
        answers = [follower.result() for follower in followers]
        assert {answer.cache for answer in answers} == {"STALE"}
        assert any("; collapsed; ttl=-" in answer.headers["cache-status"] for answer in answers)
        assert (strict.result().cache, strict.result().status) == ("MISS", status)


def test_a_stream_that_breaks_off_after_its_first_event_is_not_mixed_with_another(site: Site) -> None:
    async def cut(asked: Asked, send: Send) -> None:
        await send(STREAM_HEAD + chunk(chat_events("other")[0]))
        raise ConnectionResetError

    site.expired("cut")
    site.upstream.handler = cut
    live = site.proxy.stream("cut")
    assert live.headers["x-computer-use-cache"] == "MISS"
    with pytest.raises(Exception, match="IncompleteRead"):
        live.read()
