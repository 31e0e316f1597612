"""Which heads the fast path understands; all others are left to mitmproxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.policy import CONTROL_HEADERS
from computer_use_cache.credentials.caller import CARRIERS
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.keys import key
from computer_use_cache.models import Entry, Shape
from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.fast_path import lookup
from computer_use_cache.proxy.fast_path.lookup import VOLATILE, Admitted, Arrival, FastPath, Hit
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from made import put
from support import chat_events

HERE = Arrival("127.0.0.1", "127.0.0.1", None, "")
THERE = Arrival("127.0.0.1", "127.0.0.1", "https://api.openai.com:443", "api.openai.com")
CHAT = b"POST /v1/chat/completions HTTP/1.1"


def head(*headers: bytes, line: bytes = CHAT, host: bytes = b"127.0.0.1", length: bytes = b"2") -> bytes:
    return b"\r\n".join((line, b"Host: " + host, b"Content-Length: " + length, *headers, b"", b""))


@contextlib.contextmanager
def opened(folder: Path, **variables: str) -> Iterator[tuple[FastPath, Cache]]:
    settings = Settings.load({"CACHE_DIR": str(folder), **variables})
    store = DiskStore(folder, 2**20)
    run = Runners(asyncio.to_thread, asyncio.to_thread, asyncio.to_thread, time.time)
    cache = Cache(settings, store, loopback=True)
    yield FastPath(Shared(cache, Ledger(store), run), Gate(settings, loopback=True)), cache
    store.close()


@pytest.fixture(scope="module")
def fast_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastPath]:
    with opened(tmp_path_factory.mktemp("store"), CACHE_MAX_INPUT_CHARS="1000") as (path, _):
        yield path


@pytest.mark.parametrize(
    ("sent", "arrival"),
    [
        (head(), HERE),
        (head(line=CHAT.replace(b"/v1", b"")), HERE),
        (head(line=b"POST /v1/chat/completions?a=b HTTP/1.1"), HERE),
        (head(b"Connection: Keep-Alive", b"X-Empty:", b"X-Tab: \t a\t b "), HERE),
        (head(length=b"1000"), HERE),
        (head(host=b"api.openai.com"), THERE),
        (head(host=b"API.OpenAI.com:443"), THERE),
    ],
    ids=str,
)
def test_a_plain_head_is_admitted(fast_path: FastPath, sent: bytes, arrival: Arrival) -> None:
    found = fast_path.admit(arrival, sent)
    assert found
    admitted, length = found
    assert admitted.route.request.path.endswith("/chat/completions")
    assert length == int(sent.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])


def test_a_head_is_known_from_then_on_whatever_length_it_names(fast_path: FastPath) -> None:
    found, again, other = (fast_path.admit(HERE, head(length=length)) for length in (b"2", b"2", b"30"))
    assert found
    assert again == found
    assert other == (found[0], 30)
    assert fast_path.admit(THERE, head()) is None, "another arrival is another question"


@pytest.mark.parametrize(
    ("sent", "arrival"),
    [
        (head(line=b"GET /v1/chat/completions HTTP/1.1"), HERE),
        (head(line=b"post /v1/chat/completions HTTP/1.1"), HERE),
        (head(line=b"POST /v1/chat/completions HTTP/1.0"), HERE),
        (head(line=b"POST  /v1/chat/completions HTTP/1.1"), HERE),
        (head(line=b"POST http://127.0.0.1/v1/chat/completions HTTP/1.1"), HERE),
        (head(line=b"POST /v1/chat/completions#a HTTP/1.1"), HERE),
        (head(line=b"POST /v1/files HTTP/1.1"), HERE),
        (head(line=b"POST /cache/clear HTTP/1.1"), HERE),
        (head(length=b"0"), HERE),
        (head(length=b"02"), HERE),
        (head(length=b"+2"), HERE),
        (head(length=b"1001"), HERE),
        (head(b"Content-Length: 2"), HERE),
        (head(b"Host: 127.0.0.1"), HERE),
        (head(b"X-A: b", b"x-a: c"), HERE),
        (head(b"X-A: b", b" c"), HERE),
        (head(b"X-A : b"), HERE),
        (head(b"X-A: b\0"), HERE),
        (head(b"X-A: b\rc"), HERE),
        (head(b"X-A: \xe9"), HERE),
        (head(b"no colon"), HERE),
        (head(b"Connection: close"), HERE),
        (head(b"Connection: keep-alive, X-Cache-Namespace"), HERE),
        (head(b"Transfer-Encoding: chunked"), HERE),
        (head(b"Content-Encoding: gzip"), HERE),
        (head(b"Expect: 100-continue"), HERE),
        (head(b"Upgrade: h2c"), HERE),
        (head(b"Origin: http://localhost"), HERE),
        (head(b"Sec-Fetch-Site: none"), HERE),
        (head(host=b"evil.example"), HERE),
        (head(host=b""), HERE),
        (head(), Arrival("192.0.2.1", "127.0.0.1", None, "")),
        (head(host=b"api.anthropic.com"), THERE),
        (head(host=b"evil.example"), Arrival("127.0.0.1", "127.0.0.1", "https://evil.example:443", "evil.example")),
        (head()[:-2], HERE),
        (head().replace(b"\r\n", b"\n"), HERE),
        (b"\r\n" + head(), HERE),
        (b"", HERE),
    ],
    ids=str,
)
def test_any_other_head_is_left_to_mitmproxy(fast_path: FastPath, sent: bytes, arrival: Arrival) -> None:
    assert fast_path.admit(arrival, sent) is None


def test_a_parameter_that_comes_twice_or_is_empty_is_kept(fast_path: FastPath) -> None:
    found = fast_path.admit(HERE, head(line=b"POST /v1/chat/completions?a=1&b=&a=2 HTTP/1.1"))
    assert found
    assert found[0].route.request.query == (("a", "1"), ("b", ""), ("a", "2"))


@pytest.mark.parametrize(
    ("line", "is_the_same"),
    [
        (b"traceparent: 00-b", True),
        (b"X-Request-Id:b", True),
        (b"X-Requested: b", False),
        (b"X-Traceparent: 00-b", False),
        (b"X-Cache-Namespace: b", False),
        (b"Authorization: Bearer b", False),
    ],
)
def test_a_header_that_names_the_request_makes_it_no_other_one(
    fast_path: FastPath, line: bytes, is_the_same: bool
) -> None:
    with_line, other, without = (
        fast_path.admit(HERE, head(*lines)) for lines in ([line], [line.replace(b"b", b"c")], [])
    )
    assert with_line
    digests = {found[0].digest for found in (with_line, other, without) if found}
    assert len(digests) == (1 if is_the_same else 3)
    assert line.partition(b":")[2].strip().decode() in with_line[0].route.request.headers.values()


def test_no_header_that_decides_anything_counts_as_the_requests_name() -> None:
    assert not {*VOLATILE} & {*key.RELEVANT_HEADERS, *CONTROL_HEADERS, *CARRIERS, "host", "user-agent", "accept"}


CHAT_BODY = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
LONG_BODY = {"model": "m", "messages": [{"role": "user", "content": "a" * 5_000_000}]}


@pytest.mark.parametrize(
    ("path", "body", "is_remembered"),
    [
        ("chat/completions", CHAT_BODY, True),
        ("chat/completions", LONG_BODY, False),
        ("responses", {"model": "m", "input": "a"}, True),
        ("responses", {"model": "m", "input": "a", "previous_response_id": "resp_1"}, False),
    ],
    ids=["short", "comparing it takes long", "on its own", "continues an answer that may have been rebound meanwhile"],
)
def test_a_repeated_hit_is_remembered_if_that_is_quick_and_right(
    tmp_path: Path, path: str, body: dict[str, object], is_remembered: bool
) -> None:
    with opened(tmp_path) as (fast_path, cache):
        admitted, sent, wire = served_twice(fast_path, cache, path, body)
        assert fast_path.known(admitted, sent) == (wire if is_remembered else None)


def test_what_is_remembered_of_recorded_streams_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_MOST_BYTES", 400_000)
    events = chat_events(*["word"] * 300)
    stream = b"".join(events)
    chunks = tuple((len(event), 1000) for event in events)
    with opened(tmp_path) as (fast_path, cache):
        served = [
            served_twice(fast_path, cache, "chat/completions", CHAT_BODY | {"seed": seed}, Shape.SSE, stream, chunks)
            for seed in range(20)
        ]
        known = [fast_path.known(admitted, sent) for admitted, sent, _ in served]
    assert known[-1] == served[-1][2], "as JSON"
    remembered = len(known) - known.count(None)
    assert remembered * (len(stream) + 100 * len(chunks)) < 400_000


def served_twice(
    fast_path: FastPath,
    cache: Cache,
    path: str,
    body: dict[str, object],
    shape: Shape = Shape.JSON,
    answer: bytes = b"{}",
    chunks: tuple[tuple[int, int], ...] = (),
) -> tuple[Admitted, bytes, bytes]:
    """A request, its head apart, and its second hit on an entry with this answer."""
    sent = json.dumps(body).encode()
    line = f"POST /v1/{path} HTTP/1.1".encode()
    found = fast_path.admit(HERE, head(line=line, length=str(len(sent)).encode()))
    assert found
    admitted, _ = found
    plan = cache.plan_body(admitted.route, sent)
    entry = Entry(plan.key, plan.format.name, shape, "m", "", (), answer, time.time(), None, 0.0, chunks=chunks)
    put(cache.store, entry, None)
    for _ in range(2):
        hit = fast_path.find(admitted, sent)
        assert isinstance(hit, Hit)
        wire = fast_path.serve(hit, admitted, sent)
    assert wire
    return admitted, sent, wire
