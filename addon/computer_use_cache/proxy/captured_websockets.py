"""Captured websockets of the Responses API as recordings: each message that the provider answered is one call.

Messages mean what they mean in live traffic, so a recording shares its entry with the same request over HTTP. A warm-up
generates nothing and is only remembered for the messages that continue it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mitmproxy import http
from mitmproxy.websocket import WebSocketData, WebSocketMessage
from wsproto.frame_protocol import Opcode

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import sse
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.models import Event, Query, Request, Response, Skipped
from computer_use_cache.proxy import flows
from computer_use_cache.proxy.http.websocket import request_of
from computer_use_cache.responses_websocket.conversation import Ask, Conversation, Turn
from computer_use_cache.responses_websocket.events import ENDS
from computer_use_cache.transfer.recordings import Recording

_HEADERS = {"content-type": "text/event-stream"}


@dataclass
class _Asked:
    """A message that the provider is answering. `body` is None for a warm-up."""

    body: bytes | None
    turn: Turn
    at: float
    events: list[Event] = field(default_factory=list)


def recordings_of(
    handshake: http.Request, messages: list[WebSocketMessage], base: str, below: str, query: Query
) -> Iterator[Recording | Skipped]:
    """The calls on one connection to the API at `base`, in the order in which their answers ended."""
    conversation = Conversation()
    asked: dict[str | None, list[_Asked]] = {}
    for message in messages:
        try:
            said = load_object(message.content)
        except FormatError:
            continue
        lane = said.pop("stream_id", None)
        waiting = asked.setdefault(lane if isinstance(lane, str) else None, [])
        if message.from_client:
            if sent := _read(conversation, said, message.timestamp):
                waiting.append(sent)
        elif waiting:
            waiting[0].events.append(Event(_name(said.get("type")), dump(said)))
            if said.get("type") in ENDS:
                done = waiting.pop(0)
                conversation.answered(done.turn, done.events)
                if done.body is not None:
                    headers = flows.lower_headers(request_of(handshake, len(done.body)).headers)
                    took = max(message.timestamp - done.at, 0.0)
                    answer = Response(200, _HEADERS, b"".join(sse.encode(done.events)), took, ended=True)
                    yield Recording(Request(base, below, query, headers, done.body), answer, message.timestamp)
    for _ in (one for waiting in asked.values() for one in waiting if one.body is not None):
        yield Skipped("not answered, or broken off")


def _read(conversation: Conversation, said: Json, now: float) -> _Asked | None:
    is_warm_up = said.pop("generate", None) is False
    reaction = conversation.read(dump(said), None, now)
    if not isinstance(reaction, Ask):
        return None
    if is_warm_up:
        return _Asked(None, replace(reaction.turn, is_kept=False), now)
    return _Asked(reaction.body, reaction.turn, now)


def _name(kind: Any) -> str:
    """The name of an event of this type; none for a type that cannot be written in one line of UTF-8."""
    return kind if isinstance(kind, str) and kind.isprintable() else ""


def of_har(entry: Any) -> WebSocketData | None:
    """The messages of a HAR entry, as browsers and mitmproxy write them; None if it is no websocket."""
    if not isinstance(entry.get("_webSocketMessages"), list):
        return None
    return WebSocketData(
        messages=[
            WebSocketMessage(Opcode(one["opcode"]), one["type"] == "send", _text(one["data"]), float(one["time"]))
            for one in entry["_webSocketMessages"]
        ]
    )


def _text(data: Any) -> bytes:
    return data.encode("utf-8", "surrogatepass") if isinstance(data, str) else json.dumps(data).encode()
