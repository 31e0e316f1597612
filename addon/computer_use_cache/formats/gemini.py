"""Gemini: every event of a stream is a whole answer object that brings the next piece of the answer.

The same object travels as one JSON document (`generateContent`), as server-sent events or as a JSON array
(`streamGenerateContent` with and without `alt=sse`). So one event can hold a whole answer, and folding a
stream means adding up the objects; fields that the API does not define are added up like the others.
Rules: https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import findings, members
from computer_use_cache.formats.base import (
    Format,
    Json,
    UsageFlavor,
    dump,
    load_object,
    load_objects,
    refuse_constant,
)
from computer_use_cache.formats.findings import Findings
from computer_use_cache.models import Ending, Event, Query, Shape, Skip

_STREAMED = ":streamGenerateContent"
_PLACE = "(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/google/)?"
_ROUTE = re.compile(rf"/(?P<resource>{_PLACE}(?:models|tunedModels)/.+):(?P<method>\w+)")
_ANY_METHOD = re.compile(r"/(?:models|tunedModels|cachedContents)\b.*:\w+$|^/v1(?:(?:beta|alpha)/|internal:)")
"""Google's custom methods (`models/m:countTokens`), and the versions that only Google's paths have."""
_CONTINUED = frozenset({"citations", "citationSources", "topCandidates", "chosenCandidates"})
"""Lists that continue in every chunk: citations, and log probabilities by decoding step."""

_NUMBERED = {
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    9: "MALFORMED_FUNCTION_CALL",
    10: "MALFORMED_FUNCTION_CALL",
}
"""Finish reasons as numbers (`enum-encoding=int`). Gemini and Vertex AI count differently from 6 on: where one has a
malformed call, the other has a filter, which is not worth keeping either."""

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    502: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto for the HTTP statuses used."""


class Gemini(Format):
    """`generateContent` and `streamGenerateContent` of the Gemini API and of Vertex AI."""

    name = "gemini"
    operation = "generate_content"
    key_excluded = frozenset({"cache_control", "metadata"})
    """The API itself has no such fields. `cachedContent` is part of the prompt."""
    origin_paths: ClassVar[tuple[str, ...]] = ("/v1beta/",)
    conversation = "contents"
    instructions = ("systemInstruction", "system_instruction")
    answered = "candidates"
    image_places = tuple(
        f"contents/*/parts/*/{place}"
        for place in (
            *("inlineData/data", "functionResponse/parts/*/inlineData/data"),
            *("inline_data/data", "function_response/parts/*/inline_data/data"),
        )
    )
    usage_places: ClassVar[tuple[str, ...]] = ("usageMetadata",)
    usage_flavor = UsageFlavor("google", "default")
    volatile_members = members.VOLATILE | {"responseId", "createTime", "usageMetadata", "modelVersion"}
    foreign_history = ("hought signature", "hought_signature", "CachedContent not found")
    terminal_is_final = False  # some versions send a finishReason with every chunk
    credential_header = "x-goog-api-key"
    call_id_places = tuple(
        f"contents/*/parts/*/{name}/id"
        for name in ("functionCall", "functionResponse", "function_call", "function_response")
    )
    argument_objects = frozenset({"args"})

    def signed_members(self, part: Json) -> Collection[str]:
        match part:
            case {"thought": True, "thoughtSignature": str()}:
                return part.keys()
            case {"thoughtSignature": str()}:  # on a call or a text it signs the thoughts before it
                return ("thoughtSignature",)
        return ()

    def match(self, path: str) -> str | None:
        """`models/<name>` or `tunedModels/<name>` for both methods, so that they share a key; with the project and
        the location of Vertex AI."""
        return resource_of(path, "generateContent", "streamGenerateContent")

    def speaks(self, path: str, below: str, headers: Collection[str]) -> bool:
        return "/openai/" not in path and ("x-goog-api-key" in headers or _ANY_METHOD.search(path) is not None)

    def is_answer(self, message: Json) -> bool:
        return message.get("role") == "model"

    def model_of_answer(self, answer: Json) -> object:
        return answer.get("modelVersion")

    def model(self, body: Json, resource: str) -> str:
        return re.sub(f"^{_PLACE}(?:models/)?", "", resource)

    def with_model(self, upstream: str, path: str, model: str) -> tuple[str, str]:
        route = _ROUTE.fullmatch(unquote(path))
        if not route:
            return upstream, path
        place = re.match(_PLACE, route["resource"])
        named = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        return upstream, f"/{place[0] if place else ''}{quote(named)}:{route['method']}"

    def text_answer(self, text: str, model: str) -> Json:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        if not unquote(path).endswith(_STREAMED):
            return Shape.JSON
        # Generated Google clients write `$alt=sse;enum-encoding=int`.
        asked = dict(query)
        alt = asked.get("alt") or asked.get("$alt") or ""
        return Shape.SSE if alt.startswith("sse") else Shape.ARRAY

    def check_answer(self, answer: Json) -> Findings:
        """An answer without candidates, as to a blocked prompt, is not good: Google may decide otherwise the next
        time."""
        return _check([answer])

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        """Every candidate needs a `finishReason`. Whether the stream ended cleanly is for the transport (SSE) or
        `split_stream` (array) to say."""
        if any(event.name == "error" for event in events):
            raise FormatError("there is an error in the stream", Skip.ERROR)
        return _check(load_objects(events))

    def assemble(self, events: Sequence[Event]) -> Json:
        """The chunks added up: lists of parts, citations, sources and log probabilities are continued; of any other
        field the last value counts."""
        head: Json = {}
        candidates: dict[int, Json] = {}
        for event in events:
            chunk = load_object(event.data)
            for index, candidate in _candidates(chunk):
                _add(candidates.setdefault(index, {}), candidate)
            chunk.pop("candidates", None)
            _add(head, chunk)
        return {"candidates": [candidates[index] for index in sorted(candidates)]} | head

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        """One event with everything, as Google streams short answers."""
        return [Event("", dump(answer))]

    def split_stream(self, body: bytes, shape: Shape) -> list[Event]:
        """The events of a recorded stream; FormatError when an array lacks its closing bracket.

        An array's objects are written anew on one line each: Google indents them, and its own SDKs read
        no event of more than one line.
        """
        if shape is not Shape.ARRAY:
            return super().split_stream(body, shape)
        try:
            chunks = json.loads(body, parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            raise FormatError("the streamed array is not complete JSON", Skip.UNFINISHED) from error
        if not isinstance(chunks, list):
            raise FormatError("the streamed body is not a JSON array")
        return [Event("", dump(chunk)) for chunk in chunks]

    def join_stream(self, events: Sequence[Event], shape: Shape) -> list[bytes]:
        """The frames of a stream; an array has one more than events, the closing bracket."""
        if shape is not Shape.ARRAY:
            return super().join_stream(events, shape)
        return [*((b",\r\n" if position else b"[") + event.data for position, event in enumerate(events)), b"]"]

    def error(self, error: RequestError) -> Json:
        """Google's error object: https://cloud.google.com/apis/design/errors#http_mapping."""
        status = _STATUSES.get(error.status, "INTERNAL")
        return {"error": {"code": error.status, "message": error.message, "status": status}}


def resource_of(path: str, *methods: str) -> str | None:
    """The model that a path names, with its place, if the path calls one of the methods."""
    route = _ROUTE.fullmatch(unquote(path))
    return route["resource"] if route and route["method"] in methods else None


def _check(chunks: Iterable[Json]) -> Findings:
    finished: dict[int, bool] = {}
    endings: set[Ending] = set()
    is_silent = True
    for index, candidate in (found for chunk in chunks for found in _candidates(chunk)):
        findings.refuse_error(candidate, "candidate")
        reason: Any = candidate.get("finishReason")
        if isinstance(reason, int):
            reason = _NUMBERED.get(reason, reason)
        endings.update(findings.endings((reason,)))
        content = candidate.get("content")
        is_silent = is_silent and not (isinstance(content, dict) and findings.says(content.get("parts")))
        finished[index] = finished.get(index, False) or bool(reason and reason != "FINISH_REASON_UNSPECIFIED")
    if not finished:
        raise FormatError("the answer has no candidates")
    if not all(finished.values()):
        raise FormatError("a candidate never got a finishReason", Skip.UNFINISHED)
    return Findings(is_silent, frozenset(endings))


def _candidates(chunk: Json) -> list[tuple[int, Json]]:
    """The candidates of an answer or chunk, each with its index; raises FormatError for an error or nonsense.

    Vertex AI leaves `index` out where it is 0, some servers always: then the position counts.
    """
    findings.refuse_error(chunk, "answer")
    candidates = enumerate(_objects(chunk, "candidates"))
    indexed = [(candidate.get("index", position), candidate) for position, candidate in candidates]
    if not all(isinstance(index, int) for index, _ in indexed):
        raise FormatError("a candidate's index is not an integer")
    return indexed


def _add(whole: Json, piece: Json) -> None:
    """Add a chunk's fields to those of the chunks before; a null never hides a value."""
    for name, value in piece.items():
        before = whole.get(name)
        if name == "parts" and isinstance(before, list) and isinstance(value, list):
            _add_parts(before, value)
        elif name in _CONTINUED and isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        elif isinstance(before, dict) and isinstance(value, dict):
            _add(before, value | _continued_sources(before, value) if name == "groundingMetadata" else value)
        elif value is not None or before is None:
            whole[name] = value


def _continued_sources(known: Json, piece: Json) -> Json:
    """The sources so far, and the supports that point at them by number. Each piece numbers its own sources."""
    sources, more_sources = _objects(known, "groundingChunks"), _objects(piece, "groundingChunks")
    supports, more_supports = _objects(known, "groundingSupports"), _objects(piece, "groundingSupports")
    if more_sources[: len(sources)] != sources:  # else the piece repeats all of them
        if more_sources:
            more_supports = [_shifted(support, len(sources)) for support in more_supports]
        more_sources = sources + more_sources
    if more_supports[: len(supports)] != supports:
        more_supports = supports + more_supports
    lists = {"groundingChunks": more_sources, "groundingSupports": more_supports}
    return {name: values for name, values in lists.items() if values}


def _objects(owner: Json, name: str) -> list[Json]:
    values = owner.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise FormatError(f"`{name}` is not a list of objects")
    return values


def _shifted(support: Json, by: int) -> Json:
    indices = support.get("groundingChunkIndices")
    if not isinstance(indices, list) or not all(isinstance(index, int) for index in indices):
        return support
    return support | {"groundingChunkIndices": [index + by for index in indices]}


def _add_parts(parts: list[Any], more: list[Any]) -> None:
    """Append the parts of the next chunk. Text that continues from one chunk into the next becomes one part.

    Only bare text does: a part with a signature must go back to the model unchanged.
    """
    if parts and more and _is_bare_text(parts[-1]) and _is_bare_text(more[0]):
        last, first = parts[-1], more[0]
        if last.get("thought") == first.get("thought"):
            last["text"] += first["text"]
            more = more[1:]
    parts.extend(more)


def _is_bare_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str) and part.keys() <= {"text", "thought"}
