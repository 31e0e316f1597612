"""Captured websockets of the Responses API: each answered message is a recording of the same request over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.io import FlowWriter
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.websocket import WebSocketData, WebSocketMessage
from wsproto.frame_protocol import Opcode

from computer_use_cache.formats import sse
from computer_use_cache.formats.responses import Responses
from computer_use_cache.models import Skipped
from computer_use_cache.proxy.captures import read_flow_file, read_har
from computer_use_cache.proxy.http.websocket import handshake_response
from computer_use_cache.settings import Settings
from computer_use_cache.transfer.recordings import Recording

SETTINGS = Settings.load({})
AT = 1_700_000_000.0


def asks(text: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "response.create",
        "model": "gpt-5",
        "store": False,
        "input": [{"role": "user", "content": text}],
    } | more


def answers(name: str, text: str = "", **more: Any) -> list[dict[str, Any]]:
    said = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]
    answer = {"id": name, "status": "completed", "store": False, "output": said if text else []}
    kinds = ({"type": "response.created"}, {"type": "response.completed"})
    return [kind | {"response": answer} | more for kind in kinds]


def connection(*messages: tuple[bool, Any]) -> http.HTTPFlow:
    """A flow of a websocket, with messages from the client (True) and the provider."""
    client = Client(
        peername=("127.0.0.1", 1),
        sockname=("127.0.0.1", 2),
        proxy_mode=ProxyMode.parse("regular"),
        sni="api.openai.com",
    )
    server = Server(address=("api.openai.com", 443))
    server.tls = True
    flow = http.HTTPFlow(client, server)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "OpenAI-Beta": "responses_websockets=2026-02-06",
        "User-Agent": "codex",
    }
    flow.request = http.Request.make("GET", "https://api.openai.com/v1/responses", b"", headers)
    flow.request.timestamp_start = flow.request.timestamp_end = AT
    flow.response = http.Response.make(101, b"", {"Upgrade": "websocket"})
    flow.response.timestamp_start = flow.response.timestamp_end = AT
    flow.websocket = WebSocketData(
        messages=[
            WebSocketMessage(Opcode.TEXT, is_clients, json.dumps(said).encode(), AT + place)
            for place, (is_clients, said) in enumerate(messages, 1)
        ]
    )
    return flow


def said_by_provider(events: list[dict[str, Any]]) -> list[tuple[bool, Any]]:
    return [(False, event) for event in events]


DIALOGUE = connection(
    (True, asks("Warm up.", generate=False)),
    *said_by_provider(answers("resp_0")),
    (True, {**asks("Hello."), "previous_response_id": "resp_0"}),
    *said_by_provider(answers("resp_1", "Hi.")),
    (True, asks("In a lane.", stream_id="a")),
    (True, asks("In another.", stream_id="b")),
    *said_by_provider(answers("resp_3", "B.", stream_id="b")),
    *said_by_provider(answers("resp_2", "A.", stream_id="a")),
    (True, asks("Nobody answers.")),
)


def har_entry(flow: http.HTTPFlow) -> dict[str, Any]:
    """As Chrome and mitmproxy write it."""
    assert flow.websocket
    headers = [{"name": name, "value": value} for name, value in flow.request.headers.items()]
    given = [{"name": name, "value": value} for name, value in flow.response.headers.items()] if flow.response else []
    return {
        "startedDateTime": "2023-11-14T22:13:20Z",
        "time": 1,
        "timings": {},
        "serverIPAddress": "127.0.0.1",
        "request": {"method": "GET", "url": flow.request.url, "httpVersion": "HTTP/1.1", "headers": headers},
        "response": {"status": 101, "statusText": "", "httpVersion": "HTTP/1.1", "headers": given, "content": {}},
        "_webSocketMessages": [
            {"type": kind, "time": one.timestamp, "opcode": 1, "data": one.text}
            for one in flow.websocket.messages
            for kind in ("send" if one.from_client else "receive",)
        ],
    }


def read(flow: http.HTTPFlow, kind: str, folder: Path) -> list[Any]:
    """What is found in a capture of this flow."""
    path = folder / f"capture.{kind}"
    if kind == "har":
        path.write_text(json.dumps({"log": {"entries": [har_entry(flow)]}}))
        return list(read_har(path, SETTINGS))
    with path.open("wb") as file:
        FlowWriter(file).add(flow)
    return list(read_flow_file(path, SETTINGS))


@pytest.mark.parametrize("kind", ["flow", "har"])
def test_each_answered_message_is_the_request_that_it_means(tmp_path: Path, kind: str) -> None:
    *calls, last = read(DIALOGUE, kind, tmp_path)
    assert last == Skipped("not answered, or broken off")
    heard = []
    for call in calls:
        assert isinstance(call, Recording)
        assert (call.request.upstream, call.request.path) == ("https://api.openai.com/v1", "/responses")
        assert call.request.headers["user-agent"] == "codex"
        assert not {"upgrade", "openai-beta"} & call.request.headers.keys()
        body = json.loads(call.request.body)
        assert body["stream"] is True
        assert not {"stream_id", "generate", "previous_response_id", "type"} & body.keys()
        answer = Responses().assemble(list(sse.parse(call.response.body)))
        assert b"stream_id" not in call.response.body
        heard.append(([item["content"] for item in body["input"]], answer["output"][0]["content"][0]["text"]))
    assert heard == [(["Warm up.", "Hello."], "Hi."), (["In another."], "B."), (["In a lane."], "A.")]


def test_a_websocket_of_another_route_is_not_a_call(tmp_path: Path) -> None:
    flow = connection((True, asks("Hello.")), *said_by_provider(answers("resp_1", "Hi.")))
    flow.request.path = "/v1/realtime"
    assert read(flow, "flow", tmp_path) == [Skipped("not a call of a cached API")]


@pytest.mark.parametrize("kind", ["flow", "har"])
def test_what_a_cache_answered_is_no_recording(tmp_path: Path, kind: str) -> None:
    flow = connection((True, asks("Hello.")), *said_by_provider(answers("resp_1", "Hi.")))
    opened = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}
    flow.request.headers.update(opened)
    flow.response = handshake_response(flow.request)
    assert read(flow, kind, tmp_path) == [Skipped("answered by a cache")]


@pytest.mark.parametrize("kind", ["flow", "har"])
@pytest.mark.parametrize("place", ["type", "line", "text", "member"])
def test_an_odd_text_costs_no_call_of_the_connection(tmp_path: Path, kind: str, place: str) -> None:
    half = "\ud83d"
    odd = {
        "type": {"type": half},
        "line": {"type": "error\n\ndata: {}"},
        "text": {"type": "response.output_text.delta", "delta": half},
        "member": {"type": "response.output_text.delta", half: half},
    }[place]
    first, last = answers("resp_1", "Hi.")
    flow = connection(
        (True, asks("Hello.")),
        *said_by_provider([first, odd, last]),
        (True, asks("Half " + half)),
        *said_by_provider(answers("resp_2", "Half " + half)),
        (True, asks("Bye.")),
        *said_by_provider(answers("resp_3", "Bye.")),
    )
    found = [one for one in read(flow, kind, tmp_path) if isinstance(one, Recording)]
    assert [len(list(sse.parse(one.response.body))) for one in found] == [3, 2, 2]
