"""The answer to one HTTP request as the events of a websocket: each is one JSON text."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import sse
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.formats.openai import OpenAI
from computer_use_cache.formats.responses import Responses
from computer_use_cache.models import Event

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")
"""The types of the events that end an answer."""
_NEEDED_TO_CONTINUE = (
    "response.output_item.added",
    "response.output_item.done",
    "response.completed",
    "response.incomplete",
)
_OF_THE_TRANSFER = frozenset(
    ("connection", "content-encoding", "content-length", "content-type", "date", "set-cookie", "transfer-encoding")
)
"""Headers that an error event does not repeat."""
_LONGEST_TEXT = 1000


class _Typed(msgspec.Struct):
    type: str = ""


_TYPE_DECODER = msgspec.json.Decoder(_Typed)


def _type_of(data: bytes) -> str:
    try:
        return _TYPE_DECODER.decode(data).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def with_lane(data: bytes, lane: str | None) -> bytes:
    """An event that names its lane."""
    if lane is None:
        return data
    return b'{"stream_id":%s,%s' % (dump(lane), data.lstrip()[1:])


def error_event(status: int, body: Json, headers: Mapping[str, str], lane: str | None) -> bytes:
    """The event for an HTTP error whose body is `body`; clients read its status and headers as those of a response."""
    kept = {name: value for name, value in headers.items() if name not in _OF_THE_TRANSFER}
    return with_lane(dump({**body, "type": "error", "status": status, "headers": kept}), lane)


def refusal(error: RequestError, lane: str | None) -> bytes:
    """The event for an error of the cache."""
    return error_event(error.status, OpenAI().error(error), {}, lane)


class AnswerEvents:
    """Turns an HTTP answer into events while it arrives. `lane` is that of its request.

    The last event is held back until the transfer has ended: as over HTTP, an answer that a client has seen is stored.
    `to_continue` are the events from which the answer can be assembled, empty until it is complete.
    """

    def __init__(self, lane: str | None) -> None:
        self.lane = lane
        self.to_continue: list[Event] = []
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._stream: sse.Reader | None = None
        self._body = bytearray()
        self._needed: list[Event] = []
        self._last: list[bytes] = []

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the head of the answer, with lower-case names of headers."""
        self._status, self._headers = status, headers
        if status == 200 and headers.get("content-type", "").lower().startswith("text/event-stream"):
            self._stream = sse.Reader()

    def receive(self, data: bytes) -> list[bytes]:
        """The events that more of the body completes."""
        if self._stream:
            return self._pass_on(self._stream.feed(data))
        self._body += data
        return []

    def end(self) -> list[bytes]:
        """The last events, now that the answer is complete."""
        if self._stream:
            rest = self._pass_on(self._stream.end())
        elif self._status == 200:
            rest = self._pass_on(self._exploded())
        else:
            return [error_event(self._status, self._error(), self._headers, self.lane)]
        return [*rest, *self.fail(502, "The upstream's answer has no last event.")]

    def fail(self, status: int, message: str) -> list[bytes]:
        """The last event of an answer that was broken off: an error, unless the answer's own last event had arrived."""
        if self._last:
            return self._last
        return [refusal(RequestError(status, message, code="upstream_request_failed"), self.lane)]

    def _pass_on(self, events: list[Event]) -> list[bytes]:
        passed = []
        for event in events:
            kind = _type_of(event.data)
            if not kind:  # such as [DONE]
                continue
            if kind in _NEEDED_TO_CONTINUE:
                self._needed.append(event)
            if kind in ENDS:
                self._last, self.to_continue = [with_lane(event.data, self.lane)], self._needed
            else:
                passed.append(with_lane(event.data, self.lane))
        return passed

    def _exploded(self) -> list[Event]:
        """The events of an answer that came as one JSON object although a stream was asked for."""
        try:
            return Responses().explode(load_object(bytes(self._body)), with_usage=True)
        except (FormatError, KeyError):
            return []

    def _error(self) -> Json:
        """The body of an error. If it is not OpenAI's, what it says becomes the message."""
        try:
            body = load_object(bytes(self._body))
        except FormatError:
            body = {}
        if isinstance(body.get("error"), dict):
            return body
        text = body.get("detail") or bytes(self._body).decode("utf-8", "replace")[:_LONGEST_TEXT]
        return {**body, **OpenAI().error(RequestError(self._status, str(text)))}
