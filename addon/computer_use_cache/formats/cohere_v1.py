"""Cohere's chat, version 1: a stream has a line of JSON per event, and its last one repeats the whole answer.

Rules: https://docs.cohere.com/v1/reference/chat-stream
"""

from __future__ import annotations

from collections.abc import Sequence

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import findings
from computer_use_cache.formats.base import Json, dump, load_objects
from computer_use_cache.formats.cohere import Cohere
from computer_use_cache.formats.findings import Findings
from computer_use_cache.models import Event, Query, Shape, Skip

_EVENTS = {
    "search_queries": "search-queries-generation",
    "documents": "search-results",
    "text": "text-generation",
    "tool_calls": "tool-calls-generation",
    "citations": "citation-generation",
}
"""Members of an answer and the events that bring them, in the order in which they come."""


class CohereChatV1(Cohere):
    """`POST /v1/chat`."""

    name = "cohere_chat_v1"
    origin_routes = ("/v1/chat",)
    conversation = "chat_history"
    instructions = ("preamble",)
    last_message = ("message", "tool_results")
    answered = "text"
    usage_places = ("meta/billed_units", "response/meta/billed_units")
    argument_objects = frozenset({"parameters"})

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        return Shape.LINES if body.get("stream") is True else Shape.JSON

    def is_answer(self, message: Json) -> bool:
        return message.get("role") == "CHATBOT"

    def is_instruction(self, message: Json) -> bool:
        return message.get("role") == "SYSTEM"

    def bypass_reason(self, body: Json) -> str | None:
        if body.get("conversation_id"):
            return "conversation_id names a conversation that Cohere keeps"
        return super().bypass_reason(body)

    def text_answer(self, text: str, model: str) -> Json:
        usage = {"billed_units": {"input_tokens": 0, "output_tokens": 0}}
        return {"text": text, "generation_id": "given", "finish_reason": "COMPLETE", "meta": usage}

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        reason = answer.get("finish_reason")
        if not reason:
            raise FormatError("the answer never got a finish reason", Skip.UNFINISHED)
        says = findings.says([answer.get("text"), answer.get("tool_calls"), answer.get("search_queries")])
        return Findings(not says, frozenset(findings.endings((reason,))))

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        for event in load_objects(events):
            findings.refuse_error(event, "stream")
            tuple(findings.endings((event.get("finish_reason"),)))
        return self.check_answer(self.assemble(events))

    def assemble(self, events: Sequence[Event]) -> Json:
        for event in reversed(load_objects(events)):
            match event:
                case {"event_type": "stream-end", "response": dict(answer)}:
                    return {"finish_reason": event.get("finish_reason")} | answer
        raise FormatError("the stream ends without stream-end", Skip.UNFINISHED)

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        fields: list[Json] = [{"event_type": "stream-start", "generation_id": answer.get("generation_id")}]
        fields += [{"event_type": kind, name: answer[name]} for name, kind in _EVENTS.items() if answer.get(name)]
        events = [{"is_finished": False} | each for each in fields]
        end = {"event_type": "stream-end", "response": answer, "finish_reason": answer.get("finish_reason")}
        return [Event("", dump(each)) for each in (*events, {"is_finished": True} | end)]
