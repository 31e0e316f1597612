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
    """The verdict that an answer is not stored. `reason` is a SkipReason wherever an answer was judged; `detail`, if
    there is any, says the same about this one answer."""

    reason: str
    detail: str = ""

    @property
    def why(self) -> str:
        """What to show: the detail, which is a sentence of its own, or else the reason."""
        return self.detail or self.reason

    def __str__(self) -> str:
        return f"skipped: {self.why}"


class Ending(StrEnum):
    """Endings of an answer that is whole, but perhaps not wanted again; the values are those of CACHE_SKIP."""

    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"


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
    """An upstream's answer, its body decoded. `chunks` are as in `Entry`; `seconds` is how long it took.

    `ended` is True if the end of the body was marked, by HTTP/2, a length or a last chunk. A body that ends where the
    connection closes may have been cut.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    chunks: tuple[tuple[int, int], ...] = ()
    ended: bool = False


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What an answer took: tokens in and out, US dollars (None: not known), and seconds.

    `at_list_price` is True if the upstream's own prices are not known and those of the model's maker were taken.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = None
    seconds: float = 0.0
    at_list_price: bool = False


NOTHING = Cost(usd=0.0)
"""What a request took that got no answer."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One recorded answer.

    `body` holds the upstream's bytes unchanged. `chunks` are (bytes, milliseconds since the chunk
    before) of a recorded stream, empty for a JSON answer. `created_at` and `expires_at` are Unix
    seconds; `expires_at` is None for an entry that never expires. `seconds` is how long the upstream
    took, and `with_usage` whether its stream was asked for usage. Only headers that clients read are kept. The tokens,
    `usd` and `at_list_price` are those of its `cost`, worked out once, when it was recorded.

    `offline_only` is True for an answer that says nothing: it may be a run's rightful last turn, but a live call asks
    again. `usable_until` (Unix seconds) is when something that the answer names expires at the provider; not even a
    failing upstream makes it useful after that. `asked_form` is the form that was asked for when the answer came in
    another one (see `Format.unasked_form`).
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

    @property
    def cost(self) -> Cost:
        """What the answer took when it was recorded, and a hit saves."""
        return Cost(self.input_tokens, self.output_tokens, self.usd, self.seconds, self.at_list_price)

    def costing(self, cost: Cost) -> Entry:
        """The same answer at another cost."""
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
