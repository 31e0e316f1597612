"""Gemini Code Assist, which Gemini CLI calls with a Google login: Gemini's API in an envelope.

The request is in `request`, next to the model, the account's project and the ids of prompt and session. Each answer,
and each object of a stream, is in `response`, next to the id of a trace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from computer_use_cache.formats import findings
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.gemini import Gemini
from computer_use_cache.models import Event

_METHODS = re.compile(r"/v1internal:(?:generateContent|streamGenerateContent|(?P<resource>countTokens))")


class CodeAssist(Gemini):
    """`generateContent`, `streamGenerateContent` and `countTokens` of `/v1internal`."""

    name = "code_assist"
    offline_status = 400  # after a 404 Gemini CLI asks another model
    key_excluded = Gemini.key_excluded | {"enabled_credit_types"}
    client_ids = (
        *("project", "user_prompt_id", "requestId", "request_id"),
        *("request/session_id", "request/sessionId"),
    )
    origin_paths = ("/v1internal:",)
    envelope = "request"
    credential_header = "authorization"
    usage_places = ("usageMetadata", "response/usageMetadata")
    """The first one is that of an opened answer."""
    volatile_members = Gemini.volatile_members | {"traceId"}

    def match(self, path: str) -> str | None:
        method = _METHODS.fullmatch(path)
        return (method["resource"] or "") if method else None

    def model(self, body: Json, resource: str) -> str:
        model = self.opened_request(body).get("model")
        return model.removeprefix("models/") if isinstance(model, str) else ""

    def text_answer(self, text: str, model: str) -> Json:
        return {"response": super().text_answer(text, model)}

    def key_body(self, body: Json) -> Json:
        return super().key_body(self.opened_request(body))

    def bypass_reason(self, body: Json) -> str | None:
        return super().bypass_reason(self.opened_request(body))

    def opened_request(self, body: Json) -> Json:
        return _opened(body, self.envelope)

    def opened_answer(self, answer: Json) -> Json:
        return _opened(answer, "response")

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        if isinstance(answer.get("totalTokens"), int):  # of countTokens, which has no candidates
            return Findings(is_silent=False)
        return super().check_answer(self.opened_answer(answer))

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        return super().check_events([self._opened_event(event) for event in events], ended=ended)

    def _opened_event(self, event: Event) -> Event:
        chunk = load_object(event.data)
        findings.refuse_error(chunk, "stream")
        return Event(event.name, dump(self.opened_answer(chunk)))

    def assemble(self, events: Sequence[Event]) -> Json:
        chunks = [load_object(event.data) for event in events]
        inner = [Event("", dump(chunk.get("response", {}))) for chunk in chunks]
        envelope: Json = {}
        for chunk in chunks:
            envelope |= chunk
        return envelope | {"response": super().assemble(inner)}


def _opened(body: Json, name: str) -> Json:
    """`body` with the members of its member `name` in place of that one, unless they would hide others."""
    inner = body.get(name)
    outer = {member: value for member, value in body.items() if member != name}
    return outer | inner if isinstance(inner, dict) and inner.keys().isdisjoint(outer) else body
