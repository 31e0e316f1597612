"""What every API's format answers: its route, its request's shape, and how its two shapes turn into each other.

A format is pure: bodies in, bodies out. It raises FormatError where a body is not complete or not the
API's, and RequestError where a request is refused here; everything the provider should judge is let through.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar

import msgspec

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import sse
from computer_use_cache.models import Event, Query, Shape

Json = dict[str, Any]

_QUICK_DECODER = msgspec.json.Decoder()
"""Five times as quick: thousands of events are read before the client of a stream gets its end."""


OPENAI_EXCLUDED = frozenset(
    {
        "stream",
        "stream_options",
        "cache_control",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""The `key_excluded` of OpenAI's APIs that answer with text."""


EXACT_MEMBERS = frozenset(
    (
        *("model", "models", "previous_response_id", "cachedContent", "cached_content", "file_id"),
        *("url", "image_url", "video_url", "file_url", "server_url", "fileUri", "file_uri"),
        *("data", "file_data", "signature", "encrypted_content", "thoughtSignature", "thought_signature"),
    )
)
"""Members of a request that name something elsewhere (a model's date is no date of the run), or hold no text."""
REFERENCE_TYPES = ("item_reference", "image_generation_call")
"""Items whose id names what the provider keeps."""


def tree_of(places: Iterable[str]) -> Json:
    """Places (`messages/*/tool_call_id`) by their first part; a place ends where the tree does."""
    tree: Json = {}
    for place in places:
        below = tree
        for part in place.split("/"):
            below = below.setdefault(part, {})
    return tree


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
    """The JSON object in `data`; FormatError when it is anything else."""
    try:
        value = _QUICK_DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            value = json.loads(data)  # lone surrogates and NaN are for the standard library only
        except (ValueError, RecursionError) as error:
            raise FormatError("the body is not JSON") from error
    if not isinstance(value, dict):
        raise FormatError("the body is not a JSON object")
    return value


def load_objects(events: Iterable[Event]) -> list[Json]:
    """The JSON objects of a stream; the `[DONE]` that OpenRouter sends at the end of any is none."""
    return [load_object(event.data) for event in events if event.data.strip() != b"[DONE]"]


class Format(ABC):
    """One API. Instances hold no state."""

    name: ClassVar[str]
    """Enters the key and the entries; never change it."""
    key_excluded: ClassVar[frozenset[str]]
    """Top-level fields of the request that do not change the answer."""

    terminal_is_final: ClassVar[bool] = True
    """Whether a stream is whole once its terminal event was seen, even if the connection breaks right after it."""
    credential_header: ClassVar[str] = "authorization"
    """Where the API carries the caller's key when the caller sent none."""
    call_id_places: ClassVar[tuple[str, ...]] = ()
    """Where a request has the ids of calls and items: member names, and `*` for every item of a list."""
    argument_objects: ClassVar[frozenset[str]] = frozenset()
    """Members that hold a tool's arguments as JSON, where they are not JSON inside a string."""
    answers_in_text: ClassVar[bool] = True
    """Whether a value of the question that the answer repeats can be seen in it."""
    image_places: ClassVar[tuple[str, ...]] = ()
    """Where a request has pictures, as base64 or data URLs: member names, and `*` for every item of a list."""

    @abstractmethod
    def match(self, path: str) -> str | None:
        """For a path below the API's base (`/chat/completions`, no query): what of it belongs to the
        key ("" when nothing does, as the model in Gemini's path does), or None when it is not this API's."""

    def model(self, body: Json, resource: str) -> str:
        """The model a request names, else the one its path does (`resource`, what `match` gave)."""
        model = body.get("model")
        return model if isinstance(model, str) else resource

    offline_status: ClassVar[int] = 404
    """The status for what is not recorded and may not go upstream: no agent that speaks this API asks again after it.
    Most retry 408, 409, 429 and all 5xx. Mini SWE Agent (litellm) retries 400 but not 404, Codex every status but 400,
    and Claude Code asks once more after a 404."""

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        """The shape in which the client wants its answer."""
        return Shape.SSE if body.get("stream") is True else Shape.JSON

    def wants_usage(self, body: Json) -> bool:
        """Whether a streamed answer is to carry its usage; only chat and legacy completions leave it out."""
        return True

    def key_body(self, body: Json) -> Json:
        """The part of the request that decides the answer (a new object; `body` is left alone)."""
        return {name: value for name, value in body.items() if name not in self.key_excluded}

    def check_request(self, body: Json, resource: str) -> None:
        """Raise RequestError for what can be refused here without asking the provider."""

    def bypass_reason(self, body: Json) -> str | None:
        """Why this request must not be cached (state on the provider's side), or None."""
        return None

    def keeps_answer(self, body: Json) -> bool:
        """Whether the provider keeps the answer, so that a later request can name it by its id."""
        return False

    def signed_members(self, part: Json) -> Collection[str]:
        """The members of this object in an answer that a signature covers, the signature included: the API takes them
        back only as they were."""
        return ()

    @abstractmethod
    def check_answer(self, answer: Json) -> None:
        """Raise FormatError when a JSON answer must not be stored (an error inside, nothing in it)."""

    @abstractmethod
    def check_events(self, events: Sequence[Event]) -> None:
        """Raise FormatError unless the stream is whole: every event well-formed, no error, its terminal event seen."""

    @abstractmethod
    def assemble(self, events: Sequence[Event]) -> Json:
        """The JSON answer that the provider would have sent instead of this complete stream."""

    @abstractmethod
    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        """The stream that the provider would have sent instead of this JSON answer."""

    def adapts_answer(self, answer: bytes, request: Json) -> bool:
        """Whether `adapt_answer` writes this answer anew."""
        return False

    def adapt_answer(self, answer: bytes, request: Json) -> bytes:
        """A recorded JSON answer as this request wants it written (embeddings: floats or base64)."""
        return answer

    def reshape_events(self, events: Sequence[Event], *, with_usage: bool) -> Sequence[Event] | None:
        """A stream recorded with the other wish for usage; None when usage is wanted and was not recorded."""
        return events

    def split_stream(self, body: bytes, shape: Shape) -> list[Event]:
        """The events of a recorded stream. Raises FormatError when it is not a stream of this shape, or not whole."""
        return list(sse.parse(body))

    def join_stream(self, events: Sequence[Event], shape: Shape) -> list[bytes]:
        """The frames of a stream in `shape`, one per event; joined they are the body."""
        return list(sse.encode(events))

    @abstractmethod
    def error(self, error: RequestError) -> Json:
        """The API's own error object."""


class OpenAIErrors:
    """OpenAI's error object, which most other providers share."""

    _TYPES: ClassVar[dict[int, str]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        413: "invalid_request_error",
        502: "upstream_error",
        504: "upstream_error",
    }

    def error(self, error: RequestError) -> Json:
        kind = self._TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}
