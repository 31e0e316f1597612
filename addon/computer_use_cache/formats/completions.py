"""Legacy completions: a stream's chunks hold the same choices as the answer, with their text in pieces.

Rules: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json
from computer_use_cache.formats.openai_choices import ChoiceFormat, join_extras

_JOINED = frozenset(("index", "text"))


class Completions(ChoiceFormat):
    """`/completions`."""

    name = "completions"
    operation = "text_completion"
    routes = ("/completions",)
    conversation = "prompt"
    answer_object = "text_completion"
    chunk_object = "text_completion"

    def guessed_route(self, body: Json) -> str:
        return self.routes[0] if "prompt" in body else ""

    def text_choice(self, text: str) -> Json:
        return {"text": text}

    def said(self, part: Json) -> Json:
        return {"text": part.get("text")}

    def says(self, said: Json) -> bool:
        return bool(said["text"])  # white space may be the very text to fill in

    def join_part(self, choice: Json, part: Json) -> None:
        text = part.get("text") or ""
        if not isinstance(text, str):
            raise FormatError("the `text` of a choice is not a string")
        choice["text"] = choice.get("text", "") + text
        join_extras(choice, part, _JOINED)

    def split_choice(self, choice: Json) -> list[Json]:
        return [choice]
