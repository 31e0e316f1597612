"""The APIs whose answers are cached. An API is added by a file of its own, and its name in `FORMATS`."""

from __future__ import annotations

from collections.abc import Collection

from computer_use_cache.formats.base import Format, Json
from computer_use_cache.formats.bedrock_converse import BedrockConverse
from computer_use_cache.formats.bedrock_invoke import BedrockInvoke, BedrockMessages
from computer_use_cache.formats.chat_completions import ChatCompletions
from computer_use_cache.formats.code_assist import CodeAssist
from computer_use_cache.formats.cohere import CohereChat
from computer_use_cache.formats.cohere_embeddings import CohereEmbeddings, CohereEmbeddingsV1
from computer_use_cache.formats.cohere_v1 import CohereChatV1
from computer_use_cache.formats.completions import Completions
from computer_use_cache.formats.embeddings import Embeddings
from computer_use_cache.formats.fim import Fim
from computer_use_cache.formats.gemini import Gemini
from computer_use_cache.formats.gemini_embeddings import GeminiEmbeddings
from computer_use_cache.formats.messages import Messages
from computer_use_cache.formats.ollama import OllamaChat, OllamaEmbed, OllamaEmbeddings, OllamaGenerate
from computer_use_cache.formats.one_shape import ContextualizedEmbeddings, Moderations, Rerank, VoyageEmbeddings
from computer_use_cache.formats.pictures_and_sound import (
    ImageEdits,
    Images,
    ImageVariations,
    Speech,
    Transcriptions,
    Translations,
)
from computer_use_cache.formats.responses import Responses
from computer_use_cache.formats.token_counts import BedrockTokens, GeminiTokens, MessageTokens, ResponseTokens

FORMATS: tuple[Format, ...] = (
    *(Messages(), ChatCompletions(), Completions(), Fim(), Embeddings(), Responses()),
    *(Gemini(), GeminiEmbeddings(), CodeAssist()),
    *(BedrockConverse(), BedrockMessages(), BedrockInvoke()),
    *(OllamaChat(), OllamaGenerate(), OllamaEmbed(), OllamaEmbeddings()),
    *(CohereChat(), CohereChatV1(), CohereEmbeddings(), CohereEmbeddingsV1()),
    *(MessageTokens(), ResponseTokens(), GeminiTokens(), BedrockTokens()),
    *(Moderations(), Rerank(), VoyageEmbeddings(), ContextualizedEmbeddings()),
    *(Images(), ImageEdits(), ImageVariations(), Speech(), Transcriptions(), Translations()),
)
"""Where several claim a body (`guessed_route`), the first one has it."""

KEPT_HEADERS = frozenset[str]().union(*(format.kept_headers for format in FORMATS))
"""Response headers, with lower-case names, that are recorded and replayed, whichever API sent them."""


def match(path: str) -> tuple[Format, str] | None:
    """The API that a path below an API's base belongs to, and the part of the path that belongs to the key."""
    found = ((format, format.match(path)) for format in FORMATS)
    return next(((format, resource) for format, resource in found if resource is not None), None)


def of_client(path: str, below: str, headers: Collection[str]) -> Format:
    """The API that a client speaks, and so the form in which it reads errors, by its request's path, the path `below`
    the API's base and the lower-case names of the headers. OpenAI's if they do not show it. The path need not be one
    that is cached."""
    if found := match(below):
        return found[0]
    return next((format for format in FORMATS if format.speaks(path, below, headers)), by_name("chat_completions"))


def guessed_route(body: Json) -> str:
    """The route, below an API's base, of a request with this body; "" if the body does not show it."""
    return next(filter(None, (format.guessed_route(body) for format in FORMATS)), "")


def by_name(name: str) -> Format:
    """The API of this name; raises KeyError."""
    return {format.name: format for format in FORMATS}[name]
