"""Captures of other tools: what in them is a model call, where it went, and how much of a damaged file can be read."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.flow import Error
from mitmproxy.io import FlowWriter
from mitmproxy.proxy.mode_specs import ProxyMode

from computer_use_cache.errors import FormatError
from computer_use_cache.models import Skipped
from computer_use_cache.proxy.captures import read_flow_file, read_har, recordings_of
from computer_use_cache.settings import Settings
from computer_use_cache.transfer.recordings import Damaged, Kind, Recording, kind_of
from support import chat_events, chat_request, completion

SETTINGS = Settings.load({})
REQUEST = json.dumps(chat_request()).encode()
ANSWER = json.dumps(completion("pöng"), ensure_ascii=False).encode()
AT = 1_700_000_000.0


def model_call(
    url: str = "https://api.openai.com/v1/chat/completions",
    *,
    method: str = "POST",
    mode: str = "regular",
    address: tuple[str, int] | None = ("api.openai.com", 443),
    sni: str | None = "api.openai.com",
    tls: bool = True,
    headers: dict[str, str] | None = None,
    **changes: Any,
) -> http.HTTPFlow:
    """A flow as mitmproxy records it, `changes` made to its response."""
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), proxy_mode=ProxyMode.parse(mode), sni=sni)
    server = Server(address=address)
    server.tls = tls
    flow = http.HTTPFlow(client, server)
    flow.request = http.Request.make(method, url, REQUEST, {"content-type": "application/json"})
    flow.request.headers.update(headers or {})
    flow.request.timestamp_start, flow.request.timestamp_end = AT - 2, AT - 2
    flow.response = http.Response.make(200, ANSWER, {"content-type": "application/json"})
    flow.response.timestamp_start = flow.response.timestamp_end = AT
    for name, value in changes.items():
        setattr(flow.response, name, value)
    return flow


def flow_file(path: Path, *flows: http.HTTPFlow) -> Path:
    with path.open("wb") as file:
        for flow in flows:
            FlowWriter(file).add(flow)
    return path


def test_a_flow_is_its_request_answer_and_time(tmp_path: Path) -> None:
    (found,) = read_flow_file(flow_file(tmp_path / "x", model_call(headers={"anthropic-beta": "b"})), SETTINGS)
    assert isinstance(found, Recording)
    assert (found.request.upstream, found.request.path) == ("https://api.openai.com/v1", "/chat/completions")
    assert (found.request.body, found.request.headers["anthropic-beta"]) == (REQUEST, "b")
    assert (found.response.status, found.response.body, found.response.seconds, found.at) == (200, ANSWER, 2.0, AT)


REVERSE = "reverse:https://api.openai.com"


@pytest.mark.parametrize(
    ("flow", "upstream"),
    [
        (model_call(), "https://api.openai.com/v1"),
        (model_call("https://1.2.3.4/v1/chat/completions", headers={"host": "api.openai.com"},
                    address=("1.2.3.4", 443)), "https://api.openai.com/v1"),
        (model_call(mode=REVERSE, sni=None, headers={"host": "127.0.0.1:8000"}), "https://api.openai.com/v1"),
        (model_call("http://other.example:81/v1/chat/completions", mode=REVERSE, sni=None), "https://api.openai.com/v1"),
        (model_call("http://other.example:81/v1/chat/completions", headers={"host": "api.openai.com"}),
         "https://api.openai.com/v1"),
        (model_call("http://127.0.0.1:81/v1/chat/completions", sni=None, tls=False, address=("127.0.0.1", 81)),
         "http://127.0.0.1:81/v1"),
        (model_call("http://[::1]:81/v1/chat/completions", sni=None, tls=False, address=("::1", 81)),
         "http://[::1]:81/v1"),
        (model_call("https://a.example/v1/chat/completions", sni=None, address=None), "https://a.example/v1"),
    ],
    ids=["by CONNECT", "transparent", "reverse with the proxy's Host", "reverse, loaded into another reverse mode",
         "by CONNECT, loaded into a reverse mode", "plain HTTP", "IPv6", "no connection"],
)  # fmt: skip
def test_the_upstream_is_where_the_request_went(flow: http.HTTPFlow, upstream: str) -> None:
    (found,) = recordings_of(flow, SETTINGS)
    assert isinstance(found, Recording)
    assert found.request.upstream == upstream


def _broken_off(flow: http.HTTPFlow) -> None:
    flow.error = Error("cut")


def _unanswered(flow: http.HTTPFlow) -> None:
    flow.response = None


def _from_a_cache(flow: http.HTTPFlow) -> None:
    assert flow.response
    flow.response.headers["x-computer-use-cache"] = "HIT"


@pytest.mark.parametrize(
    ("flow", "change", "reason"),
    [
        (model_call(method="GET"), None, "not a call"),
        (model_call("https://api.openai.com/v1/files"), None, "not a call"),
        (model_call(), _unanswered, "not answered"),
        (model_call(), _broken_off, "broken off"),
        (model_call(raw_content=None), None, "without its bodies"),
        (model_call(headers={"content-encoding": "gzip"}), None, "not valid gzip"),
        (model_call(headers={"content-encoding": "rot13"}), None, "rot13"),
        (model_call(headers={"host": "evil.example"}, sni=None, address=None), None, "not clear which host"),
        (model_call(), _from_a_cache, "answered by a cache"),
    ],
)  # fmt: skip
def test_what_is_no_whole_model_call_is_skipped_with_its_reason(
    flow: http.HTTPFlow, change: Callable[[http.HTTPFlow], None] | None, reason: str
) -> None:
    if change:
        change(flow)
    (found,) = recordings_of(flow, SETTINGS)
    assert isinstance(found, Skipped)
    assert reason in found.detail


def test_compressed_bodies_are_decoded() -> None:
    flow = model_call()
    assert flow.response
    flow.request.headers["content-encoding"] = "gzip"
    flow.request.raw_content = gzip.compress(REQUEST)
    flow.response.headers["content-encoding"] = "gzip"
    flow.response.raw_content = gzip.compress(ANSWER)
    (found,) = recordings_of(flow, SETTINGS)
    assert isinstance(found, Recording)
    assert (found.request.body, found.response.body) == (REQUEST, ANSWER)


def frames(*flows: http.HTTPFlow) -> list[bytes]:
    files = []
    for flow in flows:
        FlowWriter(file := io.BytesIO()).add(flow)
        files.append(file.getvalue())
    return files


@pytest.mark.parametrize(
    ("content", "outcomes"),
    [
        ([0, b"4:true!", 1], [Recording, (2, "Invalid flow"), Recording]),
        ([0, b"2:{}}", 1], [Recording, (2, ""), Recording]),
        ([0, b"3:abc?", 1], [Recording, (2, "Invalid data format"), Recording]),
        ([0, b"999999999999:", 1], [Recording, (2, "is truncated")]),
        ([0, b"garbage", 1], [Recording, (2, "is truncated")]),
        ([0, b"123"], [Recording, (2, "is truncated")]),
        ([b"0:~" * 3], [(1, ""), (2, ""), (3, "")]),
        ([b""], []),
    ],
)
def test_a_damaged_flow_is_named_by_its_position(content: list[Any], outcomes: list[Any], tmp_path: Path) -> None:
    whole = frames(model_call(), model_call())
    path = tmp_path / "flows"
    path.write_bytes(b"".join(whole[part] if isinstance(part, int) else part for part in content))
    found = list(read_flow_file(path, SETTINGS))
    assert len(found) == len(outcomes)
    for outcome, expected in zip(found, outcomes, strict=True):
        if isinstance(expected, tuple):
            assert isinstance(outcome, Damaged)
            assert outcome.where == f"{path}: flow {expected[0]}"
            assert expected[1] in outcome.why
        else:
            assert isinstance(outcome, expected)


@pytest.mark.parametrize("cut", [1, 10, 700])
def test_a_cut_flow_file_gives_what_is_before_the_cut(cut: int, tmp_path: Path) -> None:
    first, second = frames(model_call(), model_call())
    path = tmp_path / "flows"
    path.write_bytes(first + second[:-cut])
    found = list(read_flow_file(path, SETTINGS))
    assert [type(outcome) for outcome in found] == [Recording, Damaged]


# -- HAR


def har_entry(text: str = ANSWER.decode(), kind: str = "application/json", **content: Any) -> dict[str, Any]:
    return {
        "startedDateTime": "2023-11-14T22:13:20.000Z",
        "time": 1500,
        "serverIPAddress": "1.2.3.4",
        "request": {
            "method": "POST",
            "url": "https://api.openai.com/v1/chat/completions?a=b",
            "httpVersion": "HTTP/2",
            "headers": [{"name": "Content-Type", "value": "application/json"}],
            "postData": {"mimeType": "application/json", "text": json.dumps(chat_request("ä"), ensure_ascii=False)},
        },
        "response": {
            "status": 200,
            "httpVersion": "HTTP/2",
            "headers": [{"name": "Content-Type", "value": kind}, {"name": "content-encoding", "value": "gzip"}],
            "content": {"text": text, "mimeType": kind} | content,
        },
    }


def har(path: Path, *entries: Any) -> Path:
    path.write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}), encoding="utf-8-sig")
    return path


STREAM = b"".join(chat_events("ö")).replace(b"\\u00f6", "ö".encode()).decode()


@pytest.mark.parametrize(
    ("entry", "body"),
    [
        (har_entry(), ANSWER),
        (har_entry(STREAM, "text/event-stream"), STREAM.encode()),
        (har_entry(base64.b64encode(ANSWER).decode(), encoding="base64"), ANSWER),
    ],
    ids=["JSON", "stream without a charset", "base64"],
)
def test_a_har_entry_is_its_request_answer_and_time(entry: dict[str, Any], body: bytes, tmp_path: Path) -> None:
    (found,) = read_har(har(tmp_path / "x.har", entry), SETTINGS)
    assert isinstance(found, Recording)
    assert (found.request.upstream, found.request.query) == ("https://api.openai.com/v1", (("a", "b"),))
    assert json.loads(found.request.body) == chat_request("ä")
    assert (found.response.body, found.response.seconds, found.at) == (body, 1.5, AT + 1.5)


@pytest.mark.parametrize(
    "damaged", [None, [], {}, har_entry() | {"startedDateTime": "noon"}, har_entry() | {"time": None}]
)
def test_a_damaged_har_entry_is_named_by_its_position(damaged: Any, tmp_path: Path) -> None:
    path = har(tmp_path / "x.har", har_entry(), damaged, har_entry())
    found = list(read_har(path, SETTINGS))
    assert [type(outcome) for outcome in found] == [Recording, Damaged, Recording]
    assert isinstance(found[1], Damaged)
    assert found[1].where == f"{path}: entry 2"


@pytest.mark.parametrize(
    "content", [b"{", b"{}", b'{"log": 1}', b'{"log": {}}', b"\xff{", b'{"log": {"entries": null}}']
)
def test_a_file_that_is_no_har_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.har"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.har is not a HAR file"):
        list(read_har(path, SETTINGS))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"SQLite format 3\0", Kind.ORIGINAL),
        (b"5183:9:websocket;", Kind.FLOWS),
        (b'{"log": {', Kind.HAR),
        (b'\xef\xbb\xbf {"log": {', Kind.HAR),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_content(content: bytes, kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "anything.txt"
    path.write_bytes(content)
    assert kind_of(path) is kind


@pytest.mark.parametrize("content", [b"", b"hello", b"12345678901234:", b":", b"[1]", bytes(64)])
def test_any_other_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.har"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="a mitmproxy flow file, a HAR file"):
        kind_of(path)
