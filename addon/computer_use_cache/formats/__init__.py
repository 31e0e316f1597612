"""The APIs whose answers are cached, one file each. An API is added by one file, and its name in `FORMATS`."""

from __future__ import annotations

import re
from collections.abc import Collection

from computer_use_cache.formats.base import Format
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

_GEMINI = re.compile(r"/(?:models|tunedModels|cachedContents)\b.*:\w+$|^/v1(?:(?:beta|alpha)/|internal:)")
"""Google's custom methods (`models/m:countTokens`), and its versions."""

_BEDROCK = re.compile(r"^/model/.+/[a-z-]+$")
"""Bedrock's operations on a model, those that are not cached too (`async-invoke`)."""

_ANTHROPIC = re.compile(r"/messages(?:/|$)|^/api/(?:hello|claude|event_logging|oauth)")
"""What belongs to Messages, and what Claude Code asks beside it."""

FORMATS: tuple[Format, ...] = (
    *(ChatCompletions(), Completions(), Fim(), Embeddings(), Responses(), Messages()),
    *(Gemini(), GeminiEmbeddings(), CodeAssist()),
    *(BedrockConverse(), BedrockMessages(), BedrockInvoke()),
    *(OllamaChat(), OllamaGenerate(), OllamaEmbed(), OllamaEmbeddings()),
    *(CohereChat(), CohereChatV1(), CohereEmbeddings(), CohereEmbeddingsV1()),
    *(MessageTokens(), ResponseTokens(), GeminiTokens(), BedrockTokens()),
    *(Moderations(), Rerank(), VoyageEmbeddings(), ContextualizedEmbeddings()),
    *(Images(), ImageEdits(), ImageVariations(), Speech(), Transcriptions(), Translations()),
)


def match(path: str) -> tuple[Format, str] | None:
    """The API that a path below an API's base belongs to, and the part of the path that belongs to the key."""
    found = ((format, format.match(path)) for format in FORMATS)
    return next(((format, resource) for format, resource in found if resource is not None), None)


def of_client(path: str, below: str, headers: Collection[str]) -> Format:
    """The API whose errors the client reads that asked for a path, `below` its API's base, with headers of these names
    (in lower case); its answer need not be cached. OpenAI's where nothing tells."""
    if found := match(below):
        return found[0]
    if _BEDROCK.search(below):
        return by_name("bedrock-converse")
    if "anthropic-version" in headers or _ANTHROPIC.search(path):
        return by_name("messages")
    is_gemini = "/openai/" not in path and ("x-goog-api-key" in headers or _GEMINI.search(path))
    return by_name("gemini" if is_gemini else "chat_completions")


def by_name(name: str) -> Format:
    """The API of this name; raises KeyError."""
    return {format.name: format for format in FORMATS}[name]
