"""Joined deltas: a stream with fewer events is judged and assembled exactly as before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Json
from computer_use_cache.models import Shape

TEXTS = ("Hel", "lo ", "\u00e4\u20ac", "", "\n", '"', "\\", "a", "b")
SPACES = pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])


def answer(api: str, events: list[Json], separators: tuple[str, str] = (",", ":"), end: str = "[DONE]") -> Answer:
    texts = [json.dumps(event, separators=separators, ensure_ascii=False) for event in events]
    body = "".join(f"data: {text}\n\n" for text in (*texts, end))
    return Answer(formats.by_name(api), Shape.SSE, body.encode())


def chunk(delta: Json, head: Json | None = None, **choice: Any) -> Json:
    part = {"index": 0, "delta": delta, "finish_reason": None} | choice
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [part]} | (head or {})


def outcome(answer: Answer, *, joined: bool) -> tuple[object, ...]:
    """What a stream is judged to be, and what it is assembled to."""
    events = answer.joined if joined else answer.events
    found = list[object]()
    for read in (answer.format.check_events, answer.format.assemble):
        try:
            found.append(read(events))
        except FormatError as error:
            found.append((str(error), error.reason))
    return tuple(found)


END = chunk({}, finish_reason="stop")
CHATS: dict[str, list[Json]] = {
    "text": [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in TEXTS), END],
    "role in every delta": [*(chunk({"role": "assistant", "content": text}) for text in TEXTS), END],
    "reasoning, then text": [
        *(chunk({"reasoning_content": text}) for text in TEXTS),
        *(chunk({"content": text}) for text in TEXTS),
        END,
    ],
    "padding": [*(chunk({"content": text}, {"obfuscation": "x" * len(text)}) for text in TEXTS), END],
    "usage": [*(chunk({"content": text}, {"usage": None}) for text in TEXTS), END],
    "choices in turn": [chunk({"content": text}, index=place % 2) for place, text in enumerate(TEXTS)],
    "log probabilities": [*(chunk({"content": "x"}, logprobs={"content": [{"token": "x"}]}) for _ in "123"), END],
    "two texts": [*(chunk({"content": "x", "refusal": "no"}) for _ in "123"), END],
    "texts before": [*(chunk({"refusal": "no", "content": "x"}) for _ in "123"), END],
    "a list in the head": [*(chunk({"content": "x"}, {"citations": ["c"]}) for _ in "123"), END],
    "an error": [*(chunk({"content": "x"}, {"error": "broken"}) for _ in "123"), END],
    "failed": [chunk({"content": text}, finish_reason="error") for text in TEXTS],
    "a delta that is quoted": [*(chunk({"content": json.dumps(chunk({"content": text}))}) for text in TEXTS), END],
    "never finished": [chunk({"content": text}) for text in TEXTS],
}


@SPACES
@pytest.mark.parametrize("events", CHATS.values(), ids=CHATS.keys())
def test_a_chat_is_read_as_before(events: list[Json], separators: tuple[str, str]) -> None:
    read = answer("chat_completions", events, separators)
    assert outcome(read, joined=True) == outcome(read, joined=False)


def piece(kind: str, member: str, text: str, index: int = 0) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, member: text}}


MESSAGE = {"type": "message", "id": "m", "role": "assistant", "content": [], "stop_reason": None}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}


@SPACES
@pytest.mark.parametrize(
    "pieces",
    [
        [piece("text_delta", "text", text) for text in TEXTS],
        [piece("thinking_delta", "thinking", text) for text in TEXTS],
        [piece("text_delta", "text", text) | {"p": "x"} for text in TEXTS],
        [piece("input_json_delta", "partial_json", text) for text in TEXTS],
        [piece("text_delta", "text", text, index=7) for text in TEXTS],
        [piece("text_delta", "text", text) | {"type": "message_delta"} for text in "abc"],
    ],
    ids=["text", "thinking", "more members", "input", "an unknown block", "another event"],
)
def test_a_message_is_read_as_before(pieces: list[Json], separators: tuple[str, str]) -> None:
    events = [
        {"type": "message_start", "message": MESSAGE},
        BLOCK,
        *pieces,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
    ]
    read = answer("messages", events, separators, end='{"type":"message_stop"}')
    assert outcome(read, joined=True) == outcome(read, joined=False)


@pytest.mark.parametrize(
    ("api", "events"),
    [
        ("chat_completions", [chunk({"content": f"word{number} "}) for number in range(2000)]),
        (
            "chat_completions",
            [chunk({"content": "\u20ac"}, {"obfuscation": "x" * (number % 9)}) for number in range(2000)],
        ),
        ("messages", [piece("text_delta", "text", f"word{number} ") for number in range(2000)]),
    ],
)
def test_two_thousand_deltas_are_read_as_one(api: str, events: list[Json]) -> None:
    assert len(answer(api, events).joined) == 2


def test_halves_of_a_character_are_not_joined() -> None:
    event = json.dumps(chunk({"content": "X"})).encode()
    halves = (event.replace(b"X", half) for half in "\u20ac".encode().partition(b"\x82") if half)
    escaped = (event.replace(b"X", half) for half in (b"\\ud83d", b"\\ude00"))
    for stream in (halves, escaped):
        body = b"".join(b"data: %s\n\n" % one for one in stream)
        read = Answer(formats.by_name("chat_completions"), Shape.SSE, body)
        assert read.joined == read.events
