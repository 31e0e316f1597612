"""A client gets through the proxy what it would have got without it: as early, in the same order, and as much."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from differential import Provider, Script, Seen, Step, agree, ask
from forked import lean_mitmdump, mitmdump
from support import Proxy, chat_events, chunk, completion, running_proxy

CHAT = "/v1/chat/completions"
FILES = "/v1/files"
ANSWER = json.dumps(completion("pong")).encode()
EVENTS = b"".join(chat_events("po", "ng"))
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module", params=[mitmdump, lean_mitmdump], ids=["mitmdump", "start"])
def proxy(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    upstream, program = f"http://127.0.0.1:{provider.port}/v1", request.param
    with running_proxy(tmp_path_factory.mktemp("patience"), upstream, program=program) as running:
        yield running


def head(status: int, *lines: str, kind: str = "application/json") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", f"content-type: {kind}", *lines, "", ""]).encode()


def length(body: bytes) -> str:
    return f"content-length: {len(body)}"


def request(path: str, *lines: str, version: str = "1.1", stream: bool = False) -> tuple[bytes, bytes]:
    """The head and the body of a request that was not asked before."""
    messages = [{"role": "user", "content": f"question {next(NUMBERS)}"}]
    body = json.dumps({"model": "m", "messages": messages, "stream": stream}).encode()
    first = [f"POST {path} HTTP/{version}", "host: localhost", "content-type: application/json", length(body)]
    return "\r\n".join([*first, *lines, "", ""]).encode(), body


def both(
    proxy: Proxy, provider: Provider, script: Script, asked: tuple[bytes, bytes], *, holds_body: bool = False
) -> tuple[Seen, Seen]:
    provider.script = script
    direct, through = (ask(port, *asked, provider, holds_body=holds_body) for port in (provider.port, proxy.port))
    return direct, through


CHUNKED = "transfer-encoding: chunked"
EARLY = (b"\n", Step.UNTIL_SEEN, b"\n", Step.UNTIL_SEEN)


@pytest.mark.parametrize("path", [CHAT, FILES])
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((head(200, length(ANSWER)) + ANSWER,), id="at once"),
        pytest.param((head(200, "connection: close") + ANSWER,), id="ended by the connection"),
        pytest.param((head(200, CHUNKED) + chunk(ANSWER) + chunk(b""),), id="chunked"),
        pytest.param((head(200, length(ANSWER)), Step.UNTIL_SEEN, ANSWER), id="head, then silence"),
        pytest.param((head(200, length(ANSWER)) + ANSWER[:50], Step.UNTIL_SEEN, ANSWER[50:]), id="half, then silence"),
        pytest.param((head(200, "connection: close"), *EARLY, ANSWER), id="blank lines, ended by the connection"),
        pytest.param((head(200, length(ANSWER)) + ANSWER[:50],), id="cut"),
        pytest.param(
            (head(200, CHUNKED) + chunk(b"\n"), Step.UNTIL_SEEN, chunk(ANSWER[:50])), id="cut after early bytes"
        ),
        pytest.param((head(200, length(ANSWER)) + ANSWER[:50], Step.UNTIL_SEEN, Step.RESET), id="reset"),
        pytest.param((Step.RESET,), id="no answer"),
        pytest.param((b"nonsense\r\n\r\n",), id="no HTTP"),
        pytest.param((head(200, CHUNKED, kind="text/event-stream") + chunk(EVENTS) + chunk(b""),), id="events"),
        pytest.param((head(400, length(b"{}")) + b"{}",), id="400"),
        pytest.param((head(429, "retry-after: 7", length(b"{}")) + b"{}",), id="429"),
        pytest.param((head(529, length(b"{}")), Step.PAUSE, b"{}"), id="529"),
        pytest.param((b"HTTP/1.1 204 No Content\r\n\r\n",), id="204"),
        pytest.param((head(400, length(b"{}")), Step.UNTIL_SEEN, b"{}"), id="400, its body late"),
        pytest.param((b"HTTP/1.1 102 X\r\n\r\n", Step.UNTIL_SEEN, head(200, length(ANSWER)) + ANSWER), id="102"),
        pytest.param(
            (b"HTTP/1.1 103 X\r\nlink: </a>\r\n\r\nHTTP/1.1 103 X\r\n\r\n" + head(200, length(ANSWER)) + ANSWER,),
            id="103 twice",
        ),
        pytest.param((b"HTTP/1.1 103 X\r\n\r\n", Step.UNTIL_SEEN, Step.RESET), id="103 and no answer"),
    ],
)
def test_through_the_proxy_comes_what_comes_directly(
    path: str, steps: tuple[bytes | Step, ...], proxy: Proxy, provider: Provider
) -> None:
    direct, through = both(proxy, provider, Script(steps), request(path))
    assert agree(direct, through), (direct, through)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_answer_after_blank_lines_is_stored_and_a_hit_is_the_same_json(
    framing: str, proxy: Proxy, provider: Provider
) -> None:
    early, rest = {
        "length": ((head(200, f"content-length: {len(ANSWER) + 2}"), *EARLY), ANSWER),
        "chunked": (
            (head(200, CHUNKED), chunk(b"\n"), Step.UNTIL_SEEN, chunk(b"\n"), Step.UNTIL_SEEN),
            chunk(ANSWER) + chunk(b""),
        ),
        "close": ((head(200, "connection: close"), *EARLY), ANSWER),
    }[framing]
    provider.script = Script((*early, rest))
    asked = request(CHAT)
    miss = ask(proxy.port, *asked, provider)
    provider.script = Script((Step.RESET,))
    hit = ask(proxy.port, *asked, provider)
    assert (miss.status, miss.end, json.loads(miss.body)) == (200, "whole", json.loads(ANSWER))
    assert (hit.status, hit.end, json.loads(hit.body)) == (200, "whole", json.loads(ANSWER))


@pytest.mark.parametrize(
    ("steps", "stream"),
    [
        ((head(200, CHUNKED) + chunk(ANSWER) + chunk(b""),), False),
        ((head(200, CHUNKED) + chunk(b"\n"), Step.UNTIL_SEEN, chunk(ANSWER) + chunk(b"")), False),
        ((head(200, CHUNKED, kind="text/event-stream") + chunk(EVENTS) + chunk(b""),), True),
    ],
)
def test_an_http_1_0_client_gets_no_chunks(
    steps: tuple[bytes | Step, ...], stream: bool, proxy: Proxy, provider: Provider
) -> None:
    provider.script = Script(steps)
    asked = request(CHAT, version="1.0", stream=stream)
    for seen in (ask(proxy.port, *asked, provider) for _ in range(2)):
        assert (seen.status, seen.coded, seen.end) == (200, False, "whole")
        assert seen.body.strip() == (EVENTS if stream else ANSWER).strip()


@pytest.mark.parametrize("status", [413, 417])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_is_refused_before_its_body_ends(status: int, framing: str, proxy: Proxy, provider: Provider) -> None:
    body = (length(b"{}"), b"{}") if framing == "length" else (CHUNKED, chunk(b"{}") + chunk(b""))
    script = Script((head(status, body[0]) + body[1],), reads_body=False)
    direct, through = both(proxy, provider, script, request(FILES, "expect: 100-continue"), holds_body=True)
    assert (direct.status, direct.end) == (status, "whole")
    assert agree(direct, through), (direct, through)


def test_the_upstream_decides_whether_an_upload_goes_on(proxy: Proxy, provider: Provider) -> None:
    script = Script(
        (b"HTTP/1.1 100 Continue\r\n\r\n", Step.UNTIL_SEEN, head(200, length(b"{}")) + b"{}"), reads_body=False
    )
    direct, through = both(proxy, provider, script, request(FILES, "expect: 100-continue"))
    assert direct.interim == [100]
    assert agree(direct, through), (direct, through)


def test_a_large_question_that_is_refused_unread_gets_the_refusal(proxy: Proxy, provider: Provider) -> None:
    script = Script((head(413, length(b"{}")) + b"{}",), reads_body=False)
    first, body = request(CHAT)
    large = json.dumps(json.loads(body) | {"user": "x" * 4_000_000}).encode()
    asked = (first.replace(length(body).encode(), length(large).encode()), large)
    direct, through = both(proxy, provider, script, asked)
    assert direct.status == 413
    assert agree(direct, through), (direct, through)
