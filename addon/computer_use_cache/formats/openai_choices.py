"""What chat and legacy completions share: an answer is a head and choices, and so is each chunk of a stream.

Every chunk repeats the head (id, created, model, ...) beside a part of one or more choices; `[DONE]` ends the
stream. Fields that the API does not define are carried like those that it does.
Rules: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, ClassVar

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import findings
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_object
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.openai import EXCLUDED, OpenAI
from computer_use_cache.models import Ending, Event, Skip

_DONE = b"[DONE]"
_NOT_HEAD = frozenset(("choices", "obfuscation", "p"))
"""Not part of the head. The last two are random text that hides a chunk's length; JSON answers have none."""


_REASONS = ("finish_reason", "native_finish_reason")


class ChoiceFormat(OpenAI, Format):
    """An API whose answers and chunks hold `choices`; what is inside a choice is for the subclass."""

    answer_object: ClassVar[str]
    chunk_object: ClassVar[str]
    key_excluded = EXCLUDED
    usage_places = ("usage", "x_groq/usage")
    usage_flavor = UsageFlavor("openai", "chat", ("chat", "default"))

    @abstractmethod
    def join_part(self, choice: Json, part: Json) -> None:
        """Add a chunk's part of a choice to the answer's choice, {} at first; FormatError when they do not fit."""

    @abstractmethod
    def split_choice(self, choice: Json) -> list[Json]:
        """The parts in which a stream carries this choice, without `index`; FormatError when it cannot."""

    @abstractmethod
    def text_choice(self, text: str) -> Json:
        """The members of a choice in which the model says this text."""

    @abstractmethod
    def said(self, part: Json) -> Json:
        """What the model says in a choice, or in a chunk's part of one."""

    def says(self, said: Json) -> bool:
        """Whether that is anything at all."""
        return findings.says(said)

    def wants_usage(self, body: Json) -> bool:
        options = body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    def text_answer(self, text: str, model: str) -> Json:
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        choice = {"index": 0} | self.text_choice(text) | {"logprobs": None, "finish_reason": "stop"}
        head = {"id": "chatcmpl-given", "object": self.answer_object, "created": 0, "model": model}
        return head | {"choices": [choice], "usage": usage}

    def check_answer(self, answer: Json) -> Findings:
        _refuse_error(answer)
        # Some providers give no finish reasons at all. A null means that the answer never finished.
        return self._check_parts(_choices(answer), is_whole=True)

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        findings = self._check_parts(part for chunk in _chunks(events) for part in _choices(chunk))
        if not ended and not any(event.data.strip() == _DONE for event in reversed(events)):
            raise FormatError("the stream ends without [DONE]", Skip.UNFINISHED)
        return findings

    def _check_parts(self, parts: Iterable[tuple[int, Json]], *, is_whole: bool = False) -> Findings:
        finished: dict[int, bool] = {}
        endings: set[Ending] = set()
        is_silent = True
        for position, part in parts:
            said = self.said(part)
            findings.refuse_error(part, "choice")
            findings.refuse_error(said, "message")
            if reasons := [part[name] for name in _REASONS if part.get(name)]:
                endings.update(findings.endings(reasons))
            if said.get("refusal"):
                endings.add(Ending.REFUSAL)
            is_silent = is_silent and not self.says(said)
            is_end = bool(part.get("finish_reason")) or (is_whole and "finish_reason" not in part)
            finished[position] = finished.get(position, False) or is_end
        if not finished:
            raise FormatError("the answer has no choices")
        if not all(finished.values()):
            raise FormatError("a choice never got a finish reason", Skip.UNFINISHED)
        return Findings(is_silent, frozenset(endings))

    def assemble(self, events: Sequence[Event]) -> Json:
        head: Json = {}
        choices: dict[int, Json] = {}
        for chunk in _chunks(events):
            _join_head(head, chunk)
            for position, part in _choices(chunk):
                self.join_part(choices.setdefault(position, {}), part)
        ordered = [{"index": position} | choices[position] for position in sorted(choices)]
        return head | {"object": self.answer_object, "choices": ordered}

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        first_head = without(answer | {"object": self.chunk_object}, "choices", "usage")
        # Lists and objects are too large to repeat; SDKs keep unknown fields of the first chunk only.
        head = {name: value for name, value in first_head.items() if not isinstance(value, (dict, list))}
        parts = [
            {"index": position} | part
            for position, choice in _choices(answer)
            for part in self.split_choice(without(choice, "index"))
        ]
        heads = chain([first_head], repeat(head))
        chunks = [start | {"choices": [part]} for start, part in zip(heads, parts, strict=False)]
        if with_usage and "usage" in answer:
            chunks = [chunk | {"usage": None} for chunk in chunks]
            chunks.append(head | {"choices": [], "usage": answer["usage"]})
        return [*(Event("", dump(chunk)) for chunk in chunks), Event("", _DONE)]

    def reshape_events(self, events: Sequence[Event], *, with_usage: bool) -> Sequence[Event] | None:
        chunks = list(_chunks(events))
        if with_usage:
            return events if any(chunk.get("usage") for chunk in chunks) else None
        return [
            _without_usage(event, chunk)
            for event, chunk in zip(events, chunks, strict=True)
            if not _is_usage_only(chunk)
        ]


def without(value: Json, *names: str) -> Json:
    """The object without these members."""
    return {name: member for name, member in value.items() if name not in names}


def join_extras(choice: Json, part: Json, joined: frozenset[str]) -> None:
    """Add to the answer's choice what a part holds beside the members that are `joined` already: lists and objects
    grow, the rest is replaced.

    An empty value never replaces another: `finish_reason` is null again after the chunk that gave it.
    """
    for name, value in part.items():
        if name in joined:
            continue
        known = choice.get(name)
        if name == "logprobs" and isinstance(known, dict) and isinstance(value, dict):
            choice[name] = {field: _grown(known.get(field), value.get(field)) for field in known | value}
        else:
            choice[name] = _grown(known, value)


def _grown(known: Any, value: Any) -> Any:
    if not value:
        return value if known is None else known
    if isinstance(known, list) and isinstance(value, list):
        return known + value
    if isinstance(known, dict) and isinstance(value, dict):
        return known | value
    return value


def _join_head(head: Json, chunk: Json) -> None:
    """Add a chunk's head to the answer's. The first text or number counts; a later list or object may be fuller."""
    for name, value in chunk.items():
        if name in _NOT_HEAD:
            continue
        known = head.get(name)
        if known and not isinstance(value, (dict, list)):
            continue
        if isinstance(known, dict) and isinstance(value, dict) and name != "usage":
            head[name] = known | value
        elif value or name not in head:
            head[name] = value


def _chunks(events: Iterable[Event]) -> Iterator[Json]:
    """The chunk in each event, {} for `[DONE]`; FormatError for an error or anything but a chunk."""
    for event in events:
        if event.name == "error":
            raise FormatError("there is an error in the stream", Skip.ERROR)
        chunk = {} if event.data.strip() == _DONE else load_object(event.data)
        _refuse_error(chunk)
        yield chunk


def _choices(body: Json) -> list[tuple[int, Json]]:
    """The choices of an answer or chunk, each with its index."""
    choices = body.get("choices") or []
    if not isinstance(choices, list):
        raise FormatError("`choices` is not a list of objects")
    found = []
    for choice in choices:
        if not isinstance(choice, dict):
            raise FormatError("`choices` is not a list of objects")
        position = choice.get("index") or 0
        if not isinstance(position, int):
            raise FormatError("the `index` of a choice is not a number")
        found.append((position, choice))
    return found


def _refuse_error(body: Json) -> None:
    findings.refuse_error(body, "answer")
    # vLLM and Mistral; Anthropic's, passed on by a gateway
    if body.get("object") == "error" or body.get("type") == "error":
        raise FormatError("the answer is an error", Skip.ERROR)
    match body.get("base_resp"):
        case {"status_code": int(status)} if status:
            raise FormatError(f"MiniMax's status_code is {status}", Skip.ERROR)


def _is_usage_only(chunk: Json) -> bool:
    return bool(chunk.get("usage")) and not chunk.get("choices")


def _without_usage(event: Event, chunk: Json) -> Event:
    if "usage" not in chunk:
        return event
    return Event(event.name, dump(without(chunk, "usage")))
