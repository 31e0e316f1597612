"""Content views for mitmproxy: requests as conversations, and answers, streamed or not, as the complete message.

A view never fails. Data that cannot be parsed is shown unchanged, with the reason.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from mitmproxy import contentviews, ctx, flow, http

from computer_use_cache.cache import judging
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import transcript
from computer_use_cache.formats.base import Format, Json, load_object
from computer_use_cache.models import Event, Shape
from computer_use_cache.proxy import flows
from computer_use_cache.proxy.session import Session

_ABOVE_JSON = 2
"""The priority of mitmproxy's own JSON view is 1."""
_NEVER = -1
_MOST_SHOWN = 100_000
"""Bytes of a body that cannot be parsed; mitmproxy's own views show all of it."""


class _ModelView(contentviews.Contentview):
    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session

    def format_of(self, metadata: contentviews.Metadata) -> Format | None:
        """The API that a flow calls, None if it is not a cached one."""
        session = self._session()
        if session is None or not isinstance(metadata.flow, http.HTTPFlow):
            return None
        try:
            return flows.format_of(metadata.flow, session.settings)
        except ValueError:  # an invalid host in a flow from a file
            return None

    def known_format(self, metadata: contentviews.Metadata) -> Format:
        """The API that a flow belongs to; raises FormatError if it belongs to none."""
        format = self.format_of(metadata)
        if format is None:
            raise FormatError("it is not a call of a known model API")
        return format

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        try:
            return self.read(data, metadata)
        except Exception as error:
            return f"Cannot be parsed: {error}.\n\n{data[:_MOST_SHOWN].decode('utf-8', 'backslashreplace')}"

    @abstractmethod
    def read(self, data: bytes, metadata: contentviews.Metadata) -> str:
        """The text; may raise anything."""


def _follow(shown: flow.Flow | None) -> None:
    """Let `@focus` mean the flow on display: mitmweb does not report its selection, but it does ask for a view."""
    view = ctx.master.addons.get("view") if "web_port" in ctx.options else None
    if view and shown and shown in view:
        view.focus.flow = shown


class ModelRequest(_ModelView):
    """A request to a model API."""

    name = "Model request"

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        _follow(metadata.flow)
        is_request = isinstance(metadata.http_message, http.Request)
        return _ABOVE_JSON if data and is_request and self.format_of(metadata) else _NEVER

    def read(self, data: bytes, metadata: contentviews.Metadata) -> str:
        return transcript.of_request(self.known_format(metadata), load_object(data))


class ModelAnswer(_ModelView):
    """The answer of a model API. Errors are left to the JSON view."""

    name = "Model answer"

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        message = metadata.http_message
        is_answer = isinstance(message, http.Response) and message.status_code == 200
        return _ABOVE_JSON if data and is_answer and self.format_of(metadata) else _NEVER

    def read(self, data: bytes, metadata: contentviews.Metadata) -> str:
        format = self.known_format(metadata)
        is_array = data.lstrip().startswith(b"[")  # Gemini's stream
        shape = judging.shape_of(metadata.content_type or "", Shape.ARRAY if is_array else Shape.JSON)
        if shape is None or shape is Shape.JSON:
            return transcript.of_answer(format, load_object(data))
        events = format.split_stream(data, shape)
        try:
            format.check_events(events)
        except FormatError as error:
            part = transcript.of_answer(format, _assemble_part(format, events))
            return f"This stream is incomplete: {error}.\n\n{part}"
        return transcript.of_answer(format, format.assemble(events))


def _assemble_part(format: Format, events: list[Event]) -> Json:
    """The part of a message that an interrupted stream delivered; its last event may be damaged."""
    try:
        return format.assemble(events)
    except FormatError:
        return format.assemble(events[:-1])
