"""The values that the packages exchange. All are frozen, and none depends on mitmproxy, an HTTP library or the clock.

Values built on every hit, or for every event of a stream, are msgspec Structs: ten times cheaper than frozen
dataclasses. `gc=False` is safe because they cannot form cycles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
from msgspec.structs import replace


class Outcome(StrEnum):
    """How a request ended. Every request ends in exactly one of these, and is counted under it."""

    HIT = "HIT"
    """Answered from the store."""
    MISS = "MISS"
    """Sent upstream, whether or not that succeeded."""
    COALESCED = "COALESCED"
    """Answered by the upstream call of an identical request."""
    STALE = "STALE"
    """Answered with an expired entry because the upstream failed."""
    BYPASS = "BYPASS"
    """Sent past the cache: neither looked up nor stored."""
    REFUSED = "REFUSED"
    """Answered here with an error."""

    @property
    def saves(self) -> bool:
        """Whether the cost of the answer was saved rather than spent."""
        return self in (Outcome.HIT, Outcome.STALE, Outcome.COALESCED)


class Fwd(StrEnum):
    """Why a request was not answered from the store, in the words of Cache-Status (RFC 9211, section 2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    REQUEST = "request"
    STALE = "stale"
    PARTIAL = "partial"


class Absent(msgspec.Struct, frozen=True, gc=False):
    """Why nothing in the store answers a request.

    `said` adds detail: the header or mode that forbade it, or why an answer could not be rebound. In that last case,
    `not_rebound` is the cause in a word.
    """

    fwd: Fwd
    said: str = ""
    not_rebound: str = ""


class Reason(StrEnum):
    """Why a request bypasses the cache; the statistics count bypasses by these words."""

    ROUTE = "not a cached route"
    METHOD = "method is not cached"
    DISABLED = "cache disabled"
    DISABLED_BY_REQUEST = "cache disabled for request"
    HEADER = "X-Cache-Bypass"
    MODE = "cache mode is off"
    TOO_LARGE = "request is larger than CACHE_MAX_INPUT_CHARS"
    MODEL = "model is not cacheable"
    CREDENTIAL = "request holds a credential that cannot be replaced"
    STATE = "answer depends on state at the provider"
    FORM = "request has no canonical form"
    FAULT = "the cache failed"


@dataclass(frozen=True, slots=True)
class Bypass:
    """The verdict that a request bypasses the cache, and why."""

    reason: Reason
    detail: str = ""

    @property
    def fwd(self) -> Fwd:
        """The reason in the words of Cache-Status."""
        return Fwd.METHOD if self.reason is Reason.METHOD else Fwd.BYPASS

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Skip(StrEnum):
    """Why an answer is not stored; the statistics count skips by these words."""

    STATUS = "status is not 200"
    TOO_LARGE = "answer is larger than CACHE_MAX_RESPONSE_CHARS"
    LENGTH = "length differs from its header"
    CODING = "body does not decode as its content encoding says"
    CONTENT_TYPE = "content type is not the API's"
    NOT_JSON = "body is not JSON"
    MALFORMED = "body is not what the API sends"
    ERROR = "answer holds an error"
    FAILED = "finish reason is a failure"
    UNFINISHED = "answer never finished"
    SILENT = "answer says nothing; only offline mode replays it"
    CHOSEN = "CACHE_SKIP"
    EXPIRED = "answer names something that has expired"
    FORBIDDEN = "storing is not allowed"
    STORE = "the store cannot be written"
    CREDENTIAL = "answer holds a credential that cannot be replaced"
    UPSTREAM = "the upstream failed"
    CLIENT = "the client left"
    BATCH = "the batch could not be joined"
    FAULT = "the cache failed"
    RECORDING = "recording cannot be taken over"


@dataclass(frozen=True, slots=True)
class Skipped:
    """The verdict that an answer is not stored: why in words, and the reason it is counted under."""

    detail: str
    reason: Skip = Skip.RECORDING

    def __str__(self) -> str:
        return f"skipped: {self.detail}"


class Ending(StrEnum):
    """How a complete answer ended, if users may not want it stored; the values are those of CACHE_SKIP."""

    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"


class Shape(StrEnum):
    """The form of an answer's body: one JSON document, server-sent events, a streamed JSON array (Gemini), a JSON
    document per line (Ollama), an AWS event stream with binary frames (Bedrock), or bytes that are not JSON (sound,
    plain text)."""

    JSON = "json"
    SSE = "sse"
    ARRAY = "array"
    LINES = "lines"
    RAW = "raw"
    AWS = "aws"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream: its name ("" when the stream gives none) and its data as raw bytes."""

    name: str
    data: bytes


type Query = tuple[tuple[str, str], ...]
"""The parameters of a URL, decoded, in order; a name may occur twice, and a value may be empty."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request to a model API.

    `upstream` is the API's base URL and `path` the rest of the path (`/chat/completions`), without the query. Header
    names are lower-case. `client` is the name that CACHE_CLIENT_TOKEN gives the caller, "" for none.
    """

    upstream: str
    path: str
    query: Query
    headers: Mapping[str, str]
    body: bytes
    client: str = ""


class Response(msgspec.Struct, frozen=True, gc=False):
    """An upstream's answer with its body decoded. `chunks` are as in `Entry`; `seconds` is how long it took.

    `ended` is True if HTTP/2, a length or a last chunk marked the end of the body. A body that simply ends when the
    connection closes may have been cut short.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    chunks: tuple[tuple[int, int], ...] = ()
    ended: bool = False


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What an answer cost: input and output tokens, US dollars (None if the price is not known), and seconds.

    `at_list_price` is True if the upstream's own prices are not known and the model maker's were used instead.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = None
    seconds: float = 0.0
    at_list_price: bool = False


NOTHING = Cost(usd=0.0)
"""The cost of a request that got no answer."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One recorded answer.

    `body` holds the upstream's bytes unchanged. `chunks` are the (bytes, milliseconds since the previous chunk) of a
    recorded stream, empty for a JSON answer. `created_at` and `expires_at` are in Unix seconds; an entry without
    `expires_at` never expires. `seconds` is how long the upstream took, and `with_usage` says whether its stream was
    asked for usage. Only headers that clients read are kept. The tokens, `usd` and `at_list_price` make up its `cost`,
    which is worked out once, when the answer is recorded.

    `offline_only` is True for an answer without content. It may be the proper last turn of a run, so offline mode
    replays it, but a live call goes upstream again. `usable_until` (Unix seconds) is when something that the answer
    names expires at the provider; after that it is not served, even if the upstream fails. `asked_form` is the form
    that the request asked for if the answer came in another one (see `Format.unasked_form`).

    `template` is the digest of the request with its moving values replaced, and `bindings` are those values as plain
    data in msgpack; both are empty if the entry was recorded without them.
    """

    key: str
    format: str
    shape: Shape
    model: str
    namespace: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    created_at: float
    expires_at: float | None
    seconds: float
    with_usage: bool = True
    chunks: tuple[tuple[int, int], ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = None
    at_list_price: bool = False
    offline_only: bool = False
    usable_until: float | None = None
    asked_form: str = ""
    template: str = ""
    bindings: bytes = b""

    @property
    def cost(self) -> Cost:
        """What the answer cost when it was recorded, which is what a hit saves."""
        return Cost(self.input_tokens, self.output_tokens, self.usd, self.seconds, self.at_list_price)

    def costing(self, cost: Cost) -> Entry:
        """The same entry with another cost."""
        return replace(
            self,
            seconds=cost.seconds,
            input_tokens=cost.input_tokens,
            output_tokens=cost.output_tokens,
            usd=cost.usd,
            at_list_price=cost.at_list_price,
        )

    def is_usable(self, now: float) -> bool:
        """Whether everything that the answer names still exists at `now` (Unix seconds)."""
        return self.usable_until is None or now < self.usable_until

    def is_fresh(self, now: float) -> bool:
        """Whether the entry may be served at `now` (Unix seconds)."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The request that an entry answers, kept beside the entry; it holds no credential.

    `upstream` and `path` are as in `Request`; `query` and `headers` hold only what belongs to the key. `body` is the
    JSON that was forwarded, with each long base64 text replaced by its digest. The rest is for the store, whose indexes
    keep it; a record that is read has neither. `parts` are 64-bit digests: requests that share some of them are alike
    (see diagnosis/similarity.py). `media` maps digests (SHA-256 in hex) to the replaced texts.
    """

    upstream: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    parts: tuple[int, ...] = field(default=(), compare=False)
    media: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
