"""A client's messages on one connection: which HTTP request each one means, or which events answer it at once.

Three things exist on websockets only and are resolved here. A message may continue an answer of the same connection
that the provider does not keep (`store: false`); over HTTP the whole conversation is sent instead. A message may ask to
prepare a conversation and generate nothing. And it may name a lane, whose name its events repeat.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats.base import Json, dump
from computer_use_cache.formats.responses import Responses
from computer_use_cache.keys.canonical_json import parse_body
from computer_use_cache.memory import trimmed
from computer_use_cache.models import Event
from computer_use_cache.responses_websocket.events import refusal, with_lane

_MOST_ANSWERS = 16
"""How many answers of a connection can be continued. Providers keep the latest of each lane."""

_ENVELOPE = ("type", "stream_id", "generate")
"""Members of a message that are no part of the request."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A request and its answer, as a later message may continue them.

    `items` are its input, and its output once that is known. They follow the answer `previous`, which the provider
    keeps. With `is_kept` the provider keeps this answer too.
    """

    previous: str | None
    items: tuple[Any, ...]
    is_kept: bool

    def with_output(self, answer: Json) -> Turn:
        output = answer.get("output")
        items = [item for item in output if _has_content(item)] if isinstance(output, list) else []
        return Turn(self.previous, (*self.items, *items), self.is_kept and answer.get("store") is not False)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to make over HTTP, with this body."""

    body: bytes
    turn: Turn


@dataclass(frozen=True, slots=True)
class Reply:
    """The events that answer a message without a request."""

    events: tuple[bytes, ...]


type Reaction = Ask | Reply


class _Envelope(msgspec.Struct):
    stream_id: Any = None


_ENVELOPE_DECODER = msgspec.json.Decoder(_Envelope)


def lane_of(message: bytes) -> str | None:
    """The lane that a message names."""
    try:
        lane = _ENVELOPE_DECODER.decode(message).stream_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # it is refused when its turn comes
    return lane if isinstance(lane, str) else None


class Conversation:
    """What was said on one connection."""

    def __init__(self) -> None:
        self._answers: dict[str, Turn] = {}
        self._unread: list[tuple[Turn, list[Event]]] = []

    def answered(self, turn: Turn, events: list[Event]) -> None:
        """Note the events of a complete answer. They are only read with the next message, in its thread."""
        self._unread.append((turn, events))

    def read(self, message: bytes, lane: str | None, now: float) -> Reaction:
        """What to do about a message of a lane. Slow: call it off the event loop."""
        for turn, events in self._unread:
            self._keep_answer(turn, events)
        self._unread.clear()
        try:
            return self._react(parse_body(message), lane, now)
        except RequestError as error:
            return Reply((refusal(error, lane),))
        except (FormatError, RecursionError, ValueError) as error:
            return Reply((refusal(RequestError(400, f"The message cannot be read: {error}"), lane),))

    def _react(self, message: Json, lane: str | None, now: float) -> Reaction:
        match message.get("type"):
            case "response.create":
                return self._create(message, lane, now)
            case "response.steer":
                return Reply((_steer_failed(message),))
            case "response.processed":  # tells the provider how far Codex has read
                return Reply(())
            case kind:
                raise RequestError(400, f"The cache does not know messages of type {kind!r}.", param="type")

    def _create(self, message: Json, lane: str | None, now: float) -> Reaction:
        body = {name: value for name, value in message.items() if name not in _ENVELOPE} | {"stream": True}
        previous = body.get("previous_response_id")
        earlier = self._answers.get(previous) if isinstance(previous, str) else None
        if earlier and not earlier.is_kept:
            body |= {"previous_response_id": earlier.previous, "input": [*earlier.items, *_items(body.get("input"))]}
            if earlier.previous is None:
                del body["previous_response_id"]
            previous = earlier.previous
        turn = Turn(previous, tuple(_items(body.get("input"))), body.get("store") is not False)
        if message.get("generate") is not False:
            return Ask(_written(body), turn)
        answer = _nothing_generated(body, now)
        self._remember(answer["id"], Turn(turn.previous, turn.items, is_kept=False))
        return Reply(tuple(with_lane(event.data, lane) for event in Responses().explode(answer, with_usage=True)))

    def _keep_answer(self, turn: Turn, events: list[Event]) -> None:
        try:
            answer = Responses().assemble(events)
        except FormatError:
            return
        if isinstance(answer.get("id"), str):
            self._remember(answer["id"], turn.with_output(answer))

    def _remember(self, name: str, turn: Turn) -> None:
        self._answers.pop(name, None)
        self._answers[name] = turn
        while len(self._answers) > _MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]


def _items(sent: Any) -> list[Any]:
    """An input as a list of items."""
    if isinstance(sent, str):
        return [{"role": "user", "content": sent}]
    return sent if isinstance(sent, list) else []


def _has_content(item: Any) -> bool:
    """False for a reasoning item that only names what the provider would have had to keep; it refuses such an item."""
    is_reasoning = isinstance(item, dict) and item.get("type") == "reasoning"
    return not is_reasoning or bool(item.get("encrypted_content") or item.get("content"))


def _written(body: Json) -> bytes:
    try:
        return trimmed(orjson.dumps(body))
    except TypeError:  # an integer beyond 64 bits or a lone surrogate
        return json.dumps(body, default=_number, allow_nan=False).encode()


def _number(fragment: Any) -> float:
    return float(fragment.contents)


def _nothing_generated(body: Json, now: float) -> Json:
    """The answer to a request that asks to generate nothing, as providers give it."""
    repeated: Json = json.loads(_written({n: value for n, value in body.items() if n not in ("input", "stream")}))
    usage = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    defaults = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {}}
    return (
        defaults
        | repeated
        | {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response",
            "created_at": int(now),
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": usage,
        }
    )


def _steer_failed(message: Json) -> bytes:
    """Steering changes an answer while it is generated, which HTTP cannot: the client gets its input back."""
    message_text = "The cache asks over HTTP, where an answer cannot be steered. Send the input with response.create."
    return dump(
        {
            "type": "response.steer.failed",
            "sequence_number": 0,
            "error": {"type": "invalid_request_error", "code": "steering_not_supported", "message": message_text},
            "steer": {name: message.get(name) for name in ("previous_response_id", "input")},
        }
    )
