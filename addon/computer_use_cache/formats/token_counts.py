"""Counting the tokens of a request without making it, as Anthropic, Amazon, Google and OpenAI offer."""

from __future__ import annotations

from typing import Any, ClassVar

from computer_use_cache.errors import RequestError
from computer_use_cache.formats import bedrock, gemini
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.formats.bedrock_converse import BedrockConverse
from computer_use_cache.formats.gemini import Gemini
from computer_use_cache.formats.messages import Messages
from computer_use_cache.formats.one_shape import OneShape
from computer_use_cache.formats.responses import Responses

_SHARED = (
    *("key_excluded", "client_ids", "conversation", "instructions", "image_places", "call_id_places"),
    *("chain", "reference_types", "origin_paths", "credential_header", "offline_status"),
)


class TokenCount(OneShape):
    """A count for `api`, whose requests, rules and errors it shares."""

    operation = "count_tokens"
    api: ClassVar[Format]

    def __init_subclass__(cls) -> None:
        for name in _SHARED:
            setattr(cls, name, getattr(cls.api, name))

    def key_body(self, body: Json) -> Json:
        return self.api.key_body(body)

    def bypass_reason(self, body: Json) -> str | None:
        return self.api.bypass_reason(body)

    def model(self, body: Json, resource: str) -> str:
        return self.api.model(body, resource)

    def messages_of(self, body: Json) -> list[Any]:
        return self.api.messages_of(body)

    def is_answer(self, message: Json) -> bool:
        return self.api.is_answer(message)

    def error(self, error: RequestError) -> Json:
        return self.api.error(error)


class MessageTokens(TokenCount):
    """Anthropic's `/messages/count_tokens`."""

    name = "messages_tokens"
    api = Messages()
    routes = ("/messages/count_tokens",)
    answered = "input_tokens"
    held = ("input_tokens",)


class ResponseTokens(TokenCount):
    """OpenAI's `/responses/input_tokens`."""

    name = "responses_tokens"
    api = Responses()
    routes = ("/responses/input_tokens",)
    answered = "input_tokens"
    held = ("input_tokens",)


class BedrockTokens(TokenCount):
    """Bedrock's `/model/{id}/count-tokens`, whose input is a whole request of Converse or InvokeModel."""

    name = "bedrock_tokens"
    api = BedrockConverse()
    conversation = "input"
    answered = "inputTokens"
    held = ("inputTokens",)

    def match(self, path: str) -> str | None:
        return bedrock.model_of(path, ("count-tokens",))


class GeminiTokens(TokenCount):
    """Google's `:countTokens`."""

    name = "gemini_tokens"
    api = Gemini()
    answered = "totalTokens"
    held = ("totalTokens",)

    def match(self, path: str) -> str | None:
        return gemini.resource_of(path, "countTokens")
