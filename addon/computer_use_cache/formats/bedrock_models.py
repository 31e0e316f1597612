"""How the models that Bedrock serves spell an answer and the events of its stream, and how to convert between them.

InvokeModel passes on what the model's maker has defined. An ARN hides the model's name, so the maker is recognised by
the members of what the model sent. Whatever is not in `_DIALECTS` cannot be converted: Cohere's Command (not
Command R), whose stream lacks ids and prompt, AI21's Jurassic, pictures, and embeddings, which are not streamed at all.

Rules: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Format, Json, dump, load_objects
from computer_use_cache.formats.bedrock_converse import BedrockConverse
from computer_use_cache.formats.chat_completions import ChatCompletions
from computer_use_cache.formats.cohere_v1 import CohereChatV1
from computer_use_cache.formats.messages import Messages
from computer_use_cache.models import Event

METRICS = "amazon-bedrock-invocationMetrics"
"""Bedrock adds it to the last event of every model. No answer has it."""
_BEDROCKS_OWN = "amazon-bedrock-"
"""Begins the names of members that Bedrock adds to the model's own, about what a guardrail did."""
_TEXTS = frozenset({"generation", "completion", "text", "content"})
"""Strings that grow from event to event."""

_OF_TITAN = frozenset({"inputTextTokenCount", "totalOutputTextTokenCount", "completionReason"})
"""Members that an event of Titan has beside its text and its index."""

_COMPLETION, _CHUNK = "chat.completion", "chat.completion.chunk"
"""The kinds of a whole answer and of an event, where a model names them as OpenAI does."""

type _Assemble = Callable[[Sequence[Json]], Json]
type _Explode = Callable[[Json], list[Json]]


class _Dialect(NamedTuple):
    """One way to spell an answer. `streamed` recognises it by an event, `whole` by an answer."""

    streamed: Callable[[Json], bool]
    whole: Callable[[Json], bool]
    assemble: _Assemble
    explode: _Explode


def assemble(payloads: Sequence[Json]) -> Json:
    """The answer that these events add up to. Raises FormatError if no dialect fits them."""
    added = {
        name: value
        for payload in payloads
        for name, value in payload.items()
        if name.startswith(_BEDROCKS_OWN) and name != METRICS
    }
    events = [said for payload in payloads if (said := _without_added(payload))]
    for dialect in _DIALECTS:
        if any(map(dialect.streamed, events)):
            with _refusing("the events of this model cannot be assembled"):
                return dialect.assemble(events) | added
    raise FormatError("the events of this model cannot be assembled")


def explode(answer: Json) -> list[Json]:
    """The events of a stream with the content of this answer. Raises FormatError if no dialect fits it."""
    said = _without_added(answer)
    for dialect in _DIALECTS:
        if dialect.whole(said):
            with _refusing("the answer of this model cannot be streamed"):
                *events, last = dialect.explode(said)
                return [*events, last | {name: answer[name] for name in answer.keys() - said.keys()}]
    raise FormatError("the answer of this model cannot be streamed")


@contextlib.contextmanager
def _refusing(message: str) -> Iterator[None]:
    """Turn errors about what only looked like this dialect into FormatError."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise FormatError(message) from error


def _without_added(payload: Json) -> Json:
    return {name: value for name, value in payload.items() if not name.startswith(_BEDROCKS_OWN)}


def _spoken_as(format: Format) -> tuple[_Assemble, _Explode]:
    """The two directions for a model whose events are those of another API."""

    def assembled(events: Sequence[Json]) -> Json:
        return format.assemble([Event(str(event.get("type", "")), dump(event)) for event in events])

    def exploded(answer: Json) -> list[Json]:
        return load_objects(format.explode(answer, with_usage=True))

    return assembled, exploded


def _grown(known: Any, value: Any, name: str = "") -> Any:
    """Two events added up. Texts are appended, the only choice of each is merged, the last number counts, and a value
    that says nothing is ignored. Raises FormatError if anything else has two different values."""
    match known, value:
        case _, None | "" | []:
            return value if known is None else known
        case None | "" | [], _:
            return value
        case str(), str() if name in _TEXTS:
            return known + value
        case dict(), dict():
            return known | {name: _grown(known.get(name), member, name) for name, member in value.items()}
        case [dict(one)], [dict(other)] if name in ("outputs", "choices") and one.get("index") == other.get("index"):
            return [_grown(one, other)]
        case int() | float(), int() | float():
            return value
    if known != value:
        raise FormatError(f"two events give `{name}`")
    return known


def _join(events: Sequence[Json]) -> Json:
    answer: Json = {}
    for event in events:
        answer = _grown(answer, event)
    return answer


def _alone(answer: Json) -> list[Json]:
    """A stream of one event, for models whose events are answers with a part of the text."""
    return [answer]


def _join_choices(events: Sequence[Json]) -> Json:
    answer = _join(events)
    return answer | {"object": _COMPLETION} if answer.get("object") == _CHUNK else answer


def _choices_alone(answer: Json) -> list[Json]:
    return _alone(answer | {"object": _CHUNK} if answer.get("object") == _COMPLETION else answer)


def _assemble_nova(events: Sequence[Json]) -> Json:
    answer = _CONVERSE.assemble([Event(name, dump(payload)) for name, payload in _as_converse(events)])
    for name in ("metrics", "trace"):
        if not answer.get(name):
            answer.pop(name, None)
    match answer.get("usage"):
        case {"inputTokens": int(read), "outputTokens": int(written), **rest} if "totalTokens" not in rest:
            answer["usage"]["totalTokens"] = read + written
    return answer


def _as_converse(events: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Nova's events as those of ConverseStream. Nova numbers each piece of a text as a block of its own."""
    text_block: int | None = None
    for event in events:
        for name, payload in event.items():
            match name, payload:
                case "contentBlockDelta", {"delta": {"text": str()}, "contentBlockIndex": int(index)}:
                    text_block = index if text_block is None else text_block
                    yield name, payload | {"contentBlockIndex": text_block}
                    continue
                case "contentBlockStart" | "contentBlockDelta", _:
                    text_block = None
            yield name, payload


def _explode_nova(answer: Json) -> list[Json]:
    return [{event.name: payload} for event, payload in _named(_CONVERSE.explode(answer, with_usage=True))]


def _named(events: Sequence[Event]) -> Iterator[tuple[Event, Json]]:
    return zip(events, load_objects(events), strict=True)


def _assemble_titan(events: Sequence[Json]) -> Json:
    head: Json = {}
    results: dict[float, Json] = {}
    for event in events:
        match event:
            case {"outputText": str(text), "index": int() | float() as index, **rest} if rest.keys() <= _OF_TITAN:
                head = _grown(head, {"inputTextTokenCount": rest.get("inputTextTokenCount")})
                count, reason = rest.get("totalOutputTextTokenCount"), rest.get("completionReason")
                piece = {"tokenCount": count, "text": text, "completionReason": reason}
                results[index] = _grown(results.get(index, {}), piece)  # 0 and 0.0 are one key
            case _:
                raise FormatError("an event of Titan is not one of its texts")
    ordered = (results[index] for index in sorted(results))
    return head | {"results": [{"outputText": result.pop("text")} | result for result in ordered]}


def _explode_titan(answer: Json) -> list[Json]:
    head = {name: value for name, value in answer.items() if name != "results"}
    events = []
    for index, result in enumerate(answer["results"]):
        count = {"totalOutputTextTokenCount": result.get("tokenCount")}
        said = {name: value for name, value in result.items() if name != "tokenCount"}
        added = head | count | {"index": index}
        if not added.keys().isdisjoint(said):
            raise FormatError("a result of Titan has a member that would be lost in an event")
        events.append(said | added)
    return events


def _assemble_chat(events: Sequence[Json]) -> Json:
    """A chat completion; only some makers name the kind of the object."""
    answer = _CHAT[0](events)
    if not any("object" in event for event in events):
        del answer["object"]
    return answer


def _explode_chat(answer: Json) -> list[Json]:
    events = _CHAT[1](answer)
    return events if "object" in answer else [_without_object(event) for event in events]


def _without_object(event: Json) -> Json:
    return {name: value for name, value in event.items() if name != "object"}


def _holds(name: str) -> Callable[[Json], bool]:
    return lambda value: name in value


def _choices_hold(*names: str) -> Callable[[Json], bool]:
    def hold(value: Json) -> bool:
        choices = value.get("choices")
        return isinstance(choices, list) and any(
            isinstance(choice, dict) and all(name in choice for name in names) for choice in choices
        )

    return hold


def _results_are_titans(answer: Json) -> bool:
    results = answer.get("results")
    return isinstance(results, list) and all(isinstance(one, dict) and "outputText" in one for one in results)


_CONVERSE = BedrockConverse()
_CHAT = _spoken_as(ChatCompletions())

_DIALECTS = (
    # Claude behind an ARN.
    _Dialect(
        lambda event: event.get("type") == "message_start",
        lambda answer: answer.get("type") == "message",
        *_spoken_as(Messages()),
    ),
    # Cohere's Command R.
    _Dialect(_holds("event_type"), _holds("chat_history"), *_spoken_as(CohereChatV1())),
    # Amazon's Nova.
    _Dialect(_holds("messageStart"), _holds("output"), _assemble_nova, _explode_nova),
    # Amazon's Titan.
    _Dialect(_holds("outputText"), _results_are_titans, _assemble_titan, _explode_titan),
    # AI21's Jamba, Qwen, DeepSeek, gpt-oss, Kimi, MiniMax, GLM, Writer's Palmyra.
    _Dialect(_choices_hold("delta"), _choices_hold("message", "finish_reason"), _assemble_chat, _explode_chat),
    # Mistral's chats, DeepSeek R1, imported models.
    _Dialect(_holds("choices"), _holds("choices"), _join_choices, _choices_alone),
    # Mistral's texts.
    _Dialect(_holds("outputs"), _holds("outputs"), _join, _alone),
    # Meta's Llama.
    _Dialect(_holds("generation"), _holds("generation"), _join, _alone),
    # Claude before Messages.
    _Dialect(_holds("completion"), _holds("completion"), _join, _alone),
)
"""In the order in which they are tried."""
