"""Every request ends in exactly one outcome, whatever way it takes and whatever happens to it: the counts add up."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forked import lean_mitmdump, mitmdump
from support import (
    FAKE_KEY,
    STREAM_HEAD,
    Answer,
    Asked,
    Gate,
    Proxy,
    Send,
    Upstream,
    answer_chat,
    chat_events,
    chat_request,
    chunk,
    response,
    running_proxy,
)

CHAT = "/v1/chat/completions"
DECISION = re.compile(r"\b(HIT|MISS|COALESCED|STALE|BYPASS|REFUSED)\b.*:")
WAYS: dict[str, dict[str, Any]] = {
    "reverse proxy": {"CACHE_FAST_LANE": "off"},
    "fast path in a layer": {"CACHE_FAST_LANE": "on"},
    "fast path before the layers": {"CACHE_FAST_LANE": "on", "program": lean_mitmdump},
    "interception": {"CACHE_FAST_LANE": "off", "CACHE_HOSTS": "127.0.0.1"},
}


@dataclass
class Site:
    """A proxy on one of the ways, and how many requests it got."""

    proxy: Proxy
    upstream: Upstream
    through: tuple[str, int] | None
    """Where the proxy listens for interception, None where it is a reverse proxy."""
    gate: Gate
    sent: int = 0

    def connect(self) -> http.client.HTTPConnection:
        host, port = self.through or ("127.0.0.1", self.proxy.port)
        return http.client.HTTPConnection(host, port, timeout=60)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPConnection:
        """Send a request and leave its answer unread; underscores in header names stand for dashes."""
        self.sent += 1
        connection = self.connect()
        target = f"http://127.0.0.1:{self.upstream.port}{path}" if self.through else path
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"authorization": f"Bearer {FAKE_KEY}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        connection.request(method, target, data, given)
        return connection

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        with contextlib.closing(self.send(method, path, body, **headers)) as connection:
            answer = connection.getresponse()
            try:
                read = answer.read()
            except http.client.IncompleteRead as error:
                read = error.partial
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, read)

    def chat(self, text: str, *, stream: bool = False, **headers: str) -> Answer:
        return self.ask("POST", CHAT, chat_request(text, stream=stream), **headers)

    def decisions(self) -> int:
        """How many decisions were logged."""
        return sum(bool(DECISION.search(line)) for line in list(self.proxy.log))

    def logged_hits(self) -> int:
        """How many of them were hits."""
        return sum(" HIT" in line and bool(DECISION.search(line)) for line in list(self.proxy.log))

    def connections(self) -> int:
        """How many connections have reached mitmproxy."""
        return sum("client connect" in line for line in list(self.proxy.log))

    def counted(self) -> tuple[int, Any]:
        """How many outcomes were counted, and the statistics."""
        stats = self.proxy.stats()
        names = ("hits", "misses", "stale", "coalesced", "refusals")
        return sum(stats[name] for name in names) + sum(stats["bypasses"].values()), stats


async def provider(asked: Asked, send: Send) -> None:
    """Answers by what it is asked."""
    sent = asked.body.decode("utf-8", "replace")
    if "breaks off" in sent or asked.path.endswith("breaks-off"):
        await send(STREAM_HEAD + chunk(chat_events("p")[0]))
        raise ConnectionResetError
    if "drops" in sent or asked.path.endswith("drops"):
        raise ConnectionResetError
    if "fails" in sent:
        await send(response(b'{"error": {"message": "no"}}', 500))
    elif asked.path.endswith("/embeddings"):
        given = asked.json()["input"]
        # One vector for any number of inputs: an answer to several of them cannot be taken apart.
        data = [{"object": "embedding", "index": 0, "embedding": [1.0]}]
        await send(response(json.dumps({"object": "list", "data": data, "model": given[0], "usage": {}}).encode()))
    elif asked.method == "POST" and asked.path.endswith("/completions"):
        await answer_chat(asked, send)
    else:
        await send(response(b"{}"))


@contextlib.contextmanager
def running_site(folder: Path, upstream: Upstream, way: dict[str, Any], *arguments: str) -> Iterator[Site]:
    is_intercepting = "CACHE_HOSTS" in way
    if is_intercepting:
        arguments = (*arguments, "--mode", "regular@127.0.0.2:0")
    gate = upstream.new_event()

    async def handler(asked: Asked, send: Send) -> None:
        if b"begins" in asked.body:
            first, *rest = chat_events(*"pong")
            await send(STREAM_HEAD + chunk(first))
            await gate.wait()
            await send(b"".join(map(chunk, [*rest, b""])))
            return
        if b"waits" in asked.body or asked.path.endswith("waits"):
            await gate.wait()
        await provider(asked, send)

    upstream.handler = handler
    with running_proxy(folder, upstream.url, "-v", *arguments, **{"program": mitmdump} | way) as proxy:
        through = proxy.http_proxy() if is_intercepting else None
        yield Site(proxy, upstream, through, gate)


def answered(site: Site) -> None:
    """Requests that get their answers, good or bad."""
    for stream in (False, True, False, True):
        site.chat("good", stream=stream)
    site.chat("good", cache_control="no-cache")
    site.chat("good", x_cache_bypass="1")
    site.ask("GET", "/v1/models")
    site.ask("DELETE", "/v1/files/1")
    site.ask("POST", "/v1/files", b"x" * 100_000)


def refused(site: Site) -> None:
    """Requests that the proxy answers with an error."""
    assert site.chat("good", x_cache_mode="fast").status == 400
    assert site.chat("new", cache_control="only-if-cached").status == 504
    assert site.chat("new", cache_control="only-if-cached", x_cache_bypass="1").status == 504
    assert site.ask("POST", CHAT, b"not JSON").status in (200, 400)


def failing(site: Site) -> None:
    """Requests whose upstream fails, before it answers or while it does."""
    for text in ("fails", "drops", "breaks off"):
        for stream in (False, True):
            site.chat(text, stream=stream)
            site.chat(text, stream=stream, x_cache_bypass="1")
    site.ask("GET", "/v1/drops")
    site.ask("GET", "/v1/breaks-off")
    for inputs in (["a"], ["a", "b"], ["a", "b", "c"], ["d", "e"]):
        site.ask("POST", "/v1/embeddings", {"model": "e", "input": inputs})


def coalesced(site: Site) -> None:
    """Requests that ask the same at the same time."""
    streams = [site.send("POST", CHAT, chat_request("begins", stream=True)) for _ in range(2)]
    heads = [stream.getresponse() for stream in streams]  # both have begun, so one follows the other
    before = site.connections()
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(site.chat, "begins", stream=stream) for stream in (False, True)]
        answers += [pool.submit(site.chat, "waits", stream=stream) for stream in (False, False, True, True)]
        while site.connections() < before + len(answers):
            assert site.proxy.process.poll() is None
        site.gate.open()
        for stream, head in zip(streams, heads, strict=True):
            head.read()
            stream.close()
        for answer in answers:
            answer.result()


def leaving(site: Site) -> None:
    """Requests whose clients leave before they have their answers, and one that is left while others follow it."""
    asked = len(site.upstream.asked)
    left = [site.send("POST", CHAT, chat_request(f"{number} waits", stream=number > 1)) for number in range(4)]
    left.append(site.send("POST", CHAT, chat_request("4 waits"), x_cache_bypass="1"))
    left.append(site.send("GET", "/v1/waits"))
    site.upstream.wait_for(asked + 6)
    decided = site.decisions()
    for connection in left:
        connection.close()
    while site.decisions() < decided + len(left):
        assert site.proxy.process.poll() is None


PARTS = [answered, refused, failing, leaving, coalesced]


@pytest.mark.parametrize("way", WAYS)
def test_the_outcomes_add_up_to_the_requests(tmp_path: Path, upstream: Upstream, way: str) -> None:
    with running_site(tmp_path, upstream, WAYS[way]) as site:
        for part in PARTS:
            part(site)
            counted, stats = site.counted()
            assert counted == site.sent, (part.__name__, stats)
        assert all(stats[name] for name in ("hits", "misses", "coalesced", "refusals", "bypasses")), stats
        assert stats["skips"].keys() >= {"the client left", "the upstream failed", "status is not 200"}
        logged = site.sent - stats["hits"]
        while site.decisions() - site.logged_hits() < logged:  # the log is read by a thread of its own
            assert site.proxy.process.poll() is None
        assert site.decisions() - site.logged_hits() == logged, "one line for every decision"
        assert "fast" in way or site.logged_hits() == stats["hits"], "only hits of the fast path have no line"


FAULTS = [
    "cache.cache:Cache.plan_body",
    "cache.cache:Cache.lookup",
    "cache.cache:Cache.judge",
    "cache.cache:Cache.keep",
    "cache.replay:_replayed",
    "cache.batches:complete",
    "diagnosis.near_miss:study",
    "exchange.exchange:Exchange.resolve",
    "flights.flight:Flights.begin",
    "flights.flight:Flights.find",
    "flights.stream_recorder:Recorder.feed",
    "proxy.cache_headers:tell",
    "proxy.running:Running.response",
    "proxy.responses:delimit",
]

BREAK = """
import importlib

module, _, path = {name!r}.partition(":")
*owners, last = path.split(".")
owner = importlib.import_module("computer_use_cache." + module)
for name in owners:
    owner = getattr(owner, name)


def broken(*arguments, **named):
    raise RuntimeError("broken on purpose")


setattr(owner, last, broken)
"""


@pytest.mark.parametrize("name", FAULTS)
def test_the_outcomes_add_up_where_the_cache_itself_fails(tmp_path: Path, upstream: Upstream, name: str) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name=name))
    with running_site(tmp_path, upstream, {"CACHE_FAST_LANE": "on"}, "-s", str(script)) as site:
        for part in (answered, failing, leaving):
            part(site)
            counted, stats = site.counted()
            assert counted == site.sent, (part.__name__, stats)


def test_a_request_on_which_the_cache_fails_says_so(tmp_path: Path, upstream: Upstream) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name="exchange.exchange:Exchange.resolve"))
    with running_site(tmp_path, upstream, WAYS["reverse proxy"], "-s", str(script)) as site:
        answer = site.chat("good")
        assert (answer.status, answer.cache) == (200, "BYPASS")
        assert answer.headers["x-computer-use-cache-reason"] == "the cache failed"
        assert site.proxy.stats()["bypasses"] == {"the cache failed": 1}
