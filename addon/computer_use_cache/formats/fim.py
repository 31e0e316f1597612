"""Mistral's `/fim/completions`: a prompt and a suffix go in, a chat completion with what fits between them comes out.

Rules: https://docs.mistral.ai/api/endpoint/fim
"""

from __future__ import annotations

from computer_use_cache.formats.base import Json
from computer_use_cache.formats.chat_completions import ChatCompletions


class Fim(ChatCompletions):
    """Fill in the middle."""

    name = "fim"
    operation = "text_completion"
    routes = ("/fim/completions",)
    conversation = "prompt"

    def says(self, said: Json) -> bool:
        return any(said.values())  # white space may be the very text to fill in
