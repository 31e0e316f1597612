"""What the rest of the package may ask about an API: its routes, where its bodies hold what, which answers are good,
and how its two shapes, JSON and stream, are converted into each other.

A format is pure: bodies in, bodies out. It raises FormatError for a body that is incomplete or not the API's. It never
refuses a request; only the provider does.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import msgspec

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import lines, members, sse, state
from computer_use_cache.formats.deltas import TextDelta
from computer_use_cache.formats.findings import Findings
from computer_use_cache.models import Event, Query, Shape, Skip

Json = dict[str, Any]

_QUICK_DECODER = msgspec.json.Decoder()
"""Five times as fast as `json`: thousands of events are read before the client of a stream gets its end."""


def dump(value: object) -> bytes:
    """Compact JSON as UTF-8, as providers send it; lone surrogates stay escaped.

    Raises FormatError for a number that was too large to be read.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
    except ValueError:
        raise FormatError("a number is too large to be written again") from None


def load_object(data: bytes) -> Json:
    """The JSON object in `data`; raises FormatError for anything else, NaN and Infinity included."""
    try:
        value = _QUICK_DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            value = json.loads(data, parse_constant=refuse_constant)  # msgspec refuses lone surrogates
        except (ValueError, RecursionError) as error:
            raise FormatError("the body is not JSON", Skip.NOT_JSON) from error
    if not isinstance(value, dict):
        raise FormatError("the body is not a JSON object")
    return value


def refuse_constant(name: str) -> NoReturn:
    """For json.loads, which would otherwise accept NaN and Infinity."""
    raise ValueError(f"{name} is not JSON")


def load_objects(events: Iterable[Event]) -> list[Json]:
    """The JSON objects of a stream, without the `[DONE]` with which OpenRouter ends the streams of all APIs."""
    return [load_object(event.data) for event in events if event.data.strip() != b"[DONE]"]


@dataclass(frozen=True, slots=True)
class UsageFlavor:
    """Where genai-prices describes how an API reports its usage: under which provider and name. `own` are the names to
    try first, for providers that report it in their own way."""

    provider: str
    name: str
    own: tuple[str, ...] = ()


class Format(ABC):
    """One API. Instances hold no state. A place is a path of member names, with `*` for every item of a list."""

    name: ClassVar[str]
    """Enters the key and the entries; never change it."""
    key_excluded: ClassVar[frozenset[str]]
    """Top-level fields of the request that do not change the answer."""
    operation: ClassVar[str] = "chat"
    """What the model does: `gen_ai.operation.name` in OpenTelemetry's conventions, if they have a word for it."""
    routes: ClassVar[tuple[str, ...]] = ()
    """The API's paths below its base, if they are fixed ones."""
    origin_routes: ClassVar[tuple[str, ...]] = ()
    """Paths of the API that begin at the upstream's origin, whatever its base path is."""
    takes_forms: ClassVar[bool] = False
    """Whether a request may be a form (multipart/form-data) instead of JSON."""
    has_websocket: ClassVar[bool] = False
    """Whether clients may also ask over a websocket (responses_websocket/)."""
    origin_paths: ClassVar[tuple[str, ...]] = ()
    """Beginnings of paths that stay on the upstream's origin instead of going below its base path."""
    terminal_is_final: ClassVar[bool] = True
    """Whether a stream is whole once its terminal event was seen, even if the connection breaks right after it."""
    credential_header: ClassVar[str] = "authorization"
    """The header that carries the operator's key if the caller sent none."""
    offline_status: ClassVar[int] = 404
    """The status of a miss in `offline` mode: one after which the API's clients do not ask again. Most retry 408, 409,
    429 and all 5xx; litellm also 400 but not 404, Codex all but 400."""
    key_headers: ClassVar[tuple[str, ...]] = ()
    """Request headers, in lower case, that change the answer. They enter the key in this order: only append to it."""
    kept_headers: ClassVar[Collection[str]] = ("content-type", "request-id", "x-request-id", "x-generation-id")
    """Response headers, in lower case, that are recorded and replayed."""
    account_headers: ClassVar[tuple[str, ...]] = ()
    """Request headers, in lower case, that name the caller's account without being credentials."""
    envelope: ClassVar[str] = ""
    """The request's field around the request of another API, if this API wraps one."""
    chain: ClassVar[str] = ""
    """The request's field that names an earlier answer to continue from, if the provider keeps answers."""
    conversation: ClassVar[str] = "messages"
    """The request's field that holds what was said so far."""
    instructions: ClassVar[tuple[str, ...]] = ()
    """The request's fields outside the conversation that hold the system prompt."""
    last_message: ClassVar[tuple[str, ...]] = ()
    """The request's fields outside the conversation that hold its last message."""
    answered: ClassVar[str] = "choices"
    """The answer's field that holds what the model said."""
    image_places: ClassVar[tuple[str, ...]] = ()
    """Where a request holds pictures, as base64 or as URLs."""
    usage_places: ClassVar[tuple[str, ...]] = ("usage",)
    """Where an answer or an event holds its usage; the first place is that of a whole answer."""
    usage_flavor: ClassVar[UsageFlavor]
    """How that usage is to be read."""
    exact_members: ClassVar[frozenset[str]] = members.EXACT
    """Members of a request, at any depth, in which no value is replaced: they name something elsewhere or hold data."""
    tool_members: ClassVar[frozenset[str]] = members.TOOLS
    """The request's fields in which tools and servers, and so credentials for them, are named."""
    volatile_members: ClassVar[frozenset[str]] = members.VOLATILE
    """Members of an answer that differ between two calls that say the same."""
    written_members: ClassVar[frozenset[str]] = members.WRITTEN_BY_API
    """Members of an answer whose text the API wrote and not the model."""
    position_members: ClassVar[frozenset[str]] = members.POSITIONS
    """Members of an answer that count characters or tokens of a text, which therefore must not change."""
    text_delta: ClassVar[TextDelta | None] = None
    """The pattern of events that only add to a text."""
    foreign_history: ClassVar[tuple[str, ...]] = ()
    """Texts in a provider's error that mean: this conversation contains something issued to another account."""
    call_id_places: ClassVar[tuple[str, ...]] = ()
    """Where a request holds the ids of calls and items."""
    argument_objects: ClassVar[frozenset[str]] = frozenset()
    """Members that hold a tool's arguments as JSON, where they are not JSON inside a string."""
    reference_types: ClassVar[tuple[str, ...]] = ()
    """The `type` of items whose id refers to something that the provider stores, and so is their content."""
    answers_in_text: ClassVar[bool] = True
    """Whether the values that an answer repeats from its request can be found in the answer."""
    client_ids: ClassVar[tuple[str, ...]] = ()
    """Where a request names the client's account, project or session. Forwarded, but neither hashed nor stored."""

    def match(self, path: str) -> str | None:
        """For a path below the API's base (`/chat/completions`, no query): the part of it that belongs to the
        key ("" if none does; Gemini's path names the model). None if the path is not this API's."""
        return "" if path in self.routes or path in self.origin_routes else None

    def model_in_base(self, base: str) -> str:
        """The model that the API's base URL names, "" if it names none."""
        return ""

    def model(self, body: Json, resource: str) -> str:
        """The model that a request names, in its body or else in its path (`resource` is what `match` returned)."""
        model = body.get("model")
        return model if isinstance(model, str) else resource

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        """The shape in which the client wants its answer."""
        return Shape.SSE if body.get("stream") is True else Shape.JSON

    def wants_usage(self, body: Json) -> bool:
        """Whether a streamed answer should carry its usage; only chat and legacy completions can leave it out."""
        return True

    def key_body(self, body: Json) -> Json:
        """The part of the request that decides the answer (a new object; `body` is left alone)."""
        if self.key_excluded.isdisjoint(body):
            return body.copy()
        return {name: value for name, value in body.items() if name not in self.key_excluded}

    def speaks(self, path: str, below: str, headers: Collection[str]) -> bool:
        """Whether a path that is not cached, `below` the API's base, or the lower-case names of the headers show that
        the client speaks this API."""
        return False

    def guessed_route(self, body: Json) -> str:
        """The route, below the API's base, of a request with this body; "" if the body is not clearly this API's."""
        return ""

    def opened_request(self, body: Json) -> Json:
        """A request without the envelope that some APIs put around that of another (Code Assist around Gemini's)."""
        return body

    def messages_of(self, body: Json) -> list[Any]:
        """The conversation in an opened request, one item for each message; [] if the API has none."""
        messages = body.get(self.conversation)
        return messages if isinstance(messages, list) else []

    def is_answer(self, message: Json) -> bool:
        """Whether the model said this message of a conversation."""
        return message.get("role") == "assistant"

    def is_instruction(self, message: Json) -> bool:
        """Whether this message of a conversation is part of the system prompt."""
        return message.get("role") in ("system", "developer")

    def opened_answer(self, answer: Json) -> Json:
        """An answer, or one object of a stream, without that envelope."""
        return answer

    def model_of_answer(self, answer: Json) -> object:
        """What an opened answer names as its model."""
        return answer.get("model")

    def bypass_reason(self, body: Json) -> str | None:
        """Why this request must not be cached (state on the provider's side), or None."""
        return state.handle(body)

    def keeps_answer(self, body: Json) -> bool:
        """Whether the provider keeps the answer and a later request may name it by its id."""
        return False

    def repeats_answers(self, body: Json) -> bool:
        """Whether a request whose answer the provider keeps holds earlier answers in full, and names none by its id."""
        return False

    def signed_members(self, part: Json) -> Collection[str]:
        """The members of this object in an answer that a signature covers, the signature included: the API accepts them
        in a later request only if they are unchanged."""
        return ()

    @abstractmethod
    def check_answer(self, answer: Json) -> Findings:
        """What was found in a JSON answer. Raises FormatError if it is not good: it holds an error or is unfinished."""

    @abstractmethod
    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        """What was found in a stream. Raises FormatError unless it is good and whole: every event well-formed, no
        error, everything finished, and the terminal event seen, or else `ended` as in `Response`."""

    def check_bytes(self, answer: bytes, *, ended: bool) -> Findings:
        """The same for an answer that is neither JSON nor a stream of events."""
        raise FormatError("the answer is not JSON", Skip.NOT_JSON)

    @abstractmethod
    def assemble(self, events: Sequence[Event]) -> Json:
        """The JSON answer that the provider would have sent instead of this complete stream."""

    @abstractmethod
    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        """The stream that the provider would have sent instead of this JSON answer."""

    def wanted_type(self, headers: Mapping[str, str]) -> str:
        """The media type of the answer that a request with these headers asks for instead of the API's own, else ""."""
        return ""

    def text_answer(self, text: str, model: str) -> Json:
        """The JSON answer in which the model says this text. Raises FormatError if the API does not answer in text."""
        raise FormatError(f"{self.name} does not answer in text")

    def with_model(self, upstream: str, path: str, model: str) -> tuple[str, str]:
        """The API's base URL and the path below it, with this model in place of one that they name."""
        return upstream, path

    def unasked_form(self, answer: bytes, request: Json) -> str:
        """The form that a request asked for if its JSON answer came in another, else "" (embeddings: `float`)."""
        return ""

    def adapts_answer(self, answer: bytes, request: Json) -> bool:
        """Whether `adapt_answer` writes this answer anew."""
        return False

    def adapt_answer(self, answer: bytes, request: Json, asked_form: str = "") -> bytes:
        """A recorded JSON answer in the form that this request wants (embeddings: floats or base64). `asked_form` is
        what `unasked_form` returned when it was recorded. Raises FormatError if the form cannot be derived."""
        return answer

    def reshape_events(self, events: Sequence[Event], *, with_usage: bool) -> Sequence[Event] | None:
        """A stream with or without its usage; None if usage is wanted and was not recorded."""
        return events

    def split_stream(self, body: bytes, shape: Shape) -> list[Event]:
        """The events of a recorded stream. Raises FormatError when it is not a whole stream of this shape."""
        match shape:
            case Shape.LINES:
                return list(lines.parse(body))
            case Shape.RAW:
                return [Event("", body)]
        return list(sse.parse(body))

    def join_stream(self, events: Sequence[Event], shape: Shape) -> list[bytes]:
        """The frames of a stream in `shape`, one per event; joined they are the body."""
        match shape:
            case Shape.LINES:
                return list(lines.encode(events))
            case Shape.RAW:
                return [event.data for event in events]
        return list(sse.encode(events))

    @abstractmethod
    def error(self, error: RequestError) -> Json:
        """The API's own error object."""

    def error_headers(self, error: RequestError) -> Mapping[str, str]:
        """Additional headers in which the API's clients look for the kind of an error."""
        return {}
