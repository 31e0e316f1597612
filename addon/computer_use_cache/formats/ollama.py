"""Ollama's own API. A stream, which is the default, is a line of JSON for each piece of the answer.

Every line repeats the model and the time; the last one has `done: true` and the counts. The other lines add up to the
answer that `stream: false` gets.
Rules: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import findings, members
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_objects
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.one_shape import OneShape
from computer_use_cache.models import Event, Query, Shape, Skip

_COUNTS = ("prompt_eval_count", "eval_count")
_DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
_EXCLUDED = frozenset({"stream", "keep_alive", "cache_control", "metadata"})
"""`keep_alive` says how long the model stays loaded."""
_GROWING = ("content", "thinking", "response")
"""Members of a line that bring the next piece of a text."""


class Ollama(Format):
    """What all of Ollama's routes share."""

    key_excluded = _EXCLUDED
    offline_status = 400  # after a 404 some clients try to pull the model
    usage_places = _COUNTS
    usage_flavor = UsageFlavor("openai", "chat")
    volatile_members = members.VOLATILE | {*_COUNTS, *_DURATIONS, "context"}

    def error(self, error: RequestError) -> Json:
        return {"error": error.message}


class _Talk(Ollama):
    """A route that answers in text; `said` are the members of its answer that hold what the model says."""

    said: ClassVar[tuple[str, ...]]

    @abstractmethod
    def piece(self, line: Json) -> Json:
        """What a line, or an answer, says."""

    @abstractmethod
    def line(self, piece: Json) -> Json:
        """The members of a line with this piece."""

    @abstractmethod
    def text_piece(self, text: str) -> Json:
        """The piece that an answer with this text consists of."""

    def text_answer(self, text: str, model: str) -> Json:
        head = {"model": model, "created_at": "1970-01-01T00:00:00Z"}
        return head | self.line(self.text_piece(text)) | {"done": True, "done_reason": "stop"}

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        return Shape.JSON if body.get("stream") is False else Shape.LINES

    def check_answer(self, answer: Json) -> Findings:
        return self._check([answer])

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        return self._check(load_objects(events))

    def _check(self, lines: Iterable[Json]) -> Findings:
        last: Json = {}
        is_silent = True
        for last in lines:
            findings.refuse_error(last, "answer")
            is_silent = is_silent and not findings.says(self.piece(last))
        if last.get("done") is not True:
            raise FormatError("the answer never got to `done`", Skip.UNFINISHED)
        return Findings(is_silent, frozenset(findings.endings((last.get("done_reason"),))))

    def assemble(self, events: Sequence[Event]) -> Json:
        answer: Json = {}
        said: Json = {}
        for line in load_objects(events):
            _grow(said, self.piece(line))
            logprobs = [*answer.get("logprobs", ()), *(line.get("logprobs") or ())]
            answer |= line | ({"logprobs": logprobs} if logprobs else {})
        return answer | self.line(said)

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        """One line with the whole answer, and the last line."""
        said = self.piece(answer)
        head = {name: answer[name] for name in ("model", "created_at") if name in answer}
        first = head | self.line(said) | {"done": False}
        if "logprobs" in answer:
            first["logprobs"] = answer["logprobs"]
        nothing = {name: "" for name in said if name in ("content", "response")}
        last = {name: value for name, value in answer.items() if name not in (*self.said, "logprobs")}
        labels = {"role": said["role"]} if "role" in said else {}
        return [Event("", dump(first)), Event("", dump(head | self.line(labels | nothing) | last))]


class OllamaChat(_Talk):
    """`POST /api/chat`."""

    name = "ollama_chat"
    origin_routes = ("/api/chat",)
    answered = "message"
    said = ("message",)
    image_places = ("messages/*/images/*",)
    argument_objects = frozenset({"arguments"})

    def piece(self, line: Json) -> Json:
        message = line.get("message") or {}
        if not isinstance(message, dict):
            raise FormatError("the `message` of a line is not an object")
        return message

    def line(self, piece: Json) -> Json:
        return {"message": piece}

    def text_piece(self, text: str) -> Json:
        return {"role": "assistant", "content": text}


class OllamaGenerate(_Talk):
    """`POST /api/generate`."""

    name = "ollama_generate"
    operation = "text_completion"
    origin_routes = ("/api/generate",)
    conversation = "prompt"
    instructions = ("system",)
    last_message = ("images",)
    answered = "response"
    said = ("response", "thinking", "image")
    image_places = ("images/*",)

    def piece(self, line: Json) -> Json:
        return {name: line[name] for name in self.said if name in line}

    def line(self, piece: Json) -> Json:
        return piece

    def text_piece(self, text: str) -> Json:
        return {"response": text}


class OllamaEmbed(Ollama, OneShape):
    """`POST /api/embed`."""

    name = "ollama_embed"
    operation = "embeddings"
    origin_routes = ("/api/embed",)
    conversation = "input"
    answered = "embeddings"
    held = ("embeddings",)


class OllamaEmbeddings(Ollama, OneShape):
    """`POST /api/embeddings`, which came before `/api/embed` and takes one text.

    Not one of `origin_routes`: below an upstream with a base path it has always been an alias of OpenAI's embeddings.
    """

    name = "ollama_embeddings"
    operation = "embeddings"
    conversation = "prompt"
    answered = "embedding"
    held = ("embedding",)

    def match(self, path: str) -> str | None:
        return "" if path == "/api/embeddings" else None


def _grow(said: Json, piece: Json) -> None:
    """Add what a line says to what was said before."""
    for name, value in piece.items():
        match said.get(name), value:
            case str(known), str() if name in _GROWING:
                said[name] = known + value
            case list(known), list():
                said[name] = known + value
            case _ if value or name not in said:
                said[name] = value
