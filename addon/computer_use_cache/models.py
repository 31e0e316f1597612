"""The values that pass between the parts; all frozen, none knows mitmproxy, HTTP libraries or the clock.

What every hit makes is a Struct of msgspec, which takes a tenth of a frozen dataclass's time; without `gc`, as none of
its fields leads back to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
from msgspec.structs import replace


class Outcome(StrEnum):
    """What became of a request; the values are those of the `X-Computer-Use-Cache` header."""

    HIT = "HIT"
    MISS = "MISS"
    BYPASS = "BYPASS"
    STALE = "STALE"


class Reason(StrEnum):
    """Why a request went past the cache; the statistics count by these words."""

    ROUTE = "not a cached route"
    DISABLED = "cache disabled"
    DISABLED_BY_REQUEST = "cache disabled for request"
    HEADER = "X-Cache-Bypass"
    MODE = "cache mode is off"
    TOO_LARGE = "request is larger than CACHE_MAX_INPUT_CHARS"
    MODEL = "model is not cacheable"
    CREDENTIAL = "request holds a credential"
    STATE = "answer depends on state at the provider"
    FORM = "request has no canonical form"


@dataclass(frozen=True, slots=True)
class Bypass:
    """The verdict that a request goes past the cache: neither looked up nor stored."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True, slots=True)
class Skipped:
    """The verdict that an answer is not stored, and why."""

    reason: str

    def __str__(self) -> str:
        return f"skipped: {self.reason}"


class Shape(StrEnum):
    """How an answer travels: one JSON document, server-sent events, or a streamed JSON array (Gemini)."""

    JSON = "json"
    SSE = "sse"
    ARRAY = "array"


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: its name ("" when the stream gives none) and its data as raw bytes."""

    name: str
    data: bytes


type Query = tuple[tuple[str, str], ...]
"""The parameters of a URL, decoded, in their order; one may come twice, and be empty."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request to a model API.

    `upstream` is the API's base URL, `path` what follows it (`/chat/completions`), without the query. Header names
    are lower-case. `client` is the name that the caller's token gave it, "" for none.
    """

    upstream: str
    path: str
    query: Query
    headers: Mapping[str, str]
    body: bytes
    client: str = ""


class Response(msgspec.Struct, frozen=True, gc=False):
    """An upstream's answer, its body decoded. `chunks` are as in `Entry`; `seconds` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    chunks: tuple[tuple[int, int], ...] = ()


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What an answer took: tokens in and out, US dollars (None: not known), and seconds."""

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = None
    seconds: float = 0.0


NOTHING = Cost(usd=0.0)
"""What a request took that got no answer."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One recorded answer.

    `body` holds the upstream's bytes unchanged. `chunks` are (bytes, milliseconds since the chunk
    before) of a recorded stream, empty for a JSON answer. `created_at` and `expires_at` are Unix
    seconds; `expires_at` is None for an entry that never expires. `seconds` is how long the upstream
    took, and `with_usage` whether its stream was asked for usage. Only headers that clients read are kept. The tokens
    and `usd` are those of its `cost`, worked out once, when it was recorded. `template` is the digest of the request
    with its moving values replaced, and `bindings` are those values as plain data in msgpack; both are empty for an
    entry that was recorded without them.
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
    template: str = ""
    bindings: bytes = b""

    @property
    def cost(self) -> Cost:
        """What the answer took when it was recorded, and a hit saves."""
        return Cost(self.input_tokens, self.output_tokens, self.usd, self.seconds)

    def costing(self, cost: Cost) -> Entry:
        """The same answer at another cost."""
        seconds, tokens = cost.seconds, (cost.input_tokens, cost.output_tokens)
        return replace(self, seconds=seconds, input_tokens=tokens[0], output_tokens=tokens[1], usd=cost.usd)

    def is_fresh(self, now: float) -> bool:
        """Whether the entry may be served at `now` (Unix seconds)."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The request that an entry answers, as the store keeps it beside the entry; it holds no credential.

    `upstream` and `path` are as in `Request`, `query` and `headers` only what of them belongs to the key. `body` is the
    JSON that was forwarded, with each long base64 text replaced by its digest. `parts` are 64-bit digests: two requests
    that share some are alike (see sketch.py). `media` are those texts by digest (SHA-256 in hex), of a record on its
    way into the store; one that comes from there has none, and the store has them by `media`.
    """

    upstream: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    parts: tuple[int, ...]
    media: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
