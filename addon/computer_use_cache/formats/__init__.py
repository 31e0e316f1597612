"""The APIs whose answers are cached, one file each. An API is added by one file, and its name in `FORMATS`."""

from __future__ import annotations

import re

from computer_use_cache.formats.base import Format
from computer_use_cache.formats.bedrock_converse import BedrockConverse
from computer_use_cache.formats.bedrock_invoke import BedrockInvoke, BedrockMessages
from computer_use_cache.formats.chat_completions import ChatCompletions
from computer_use_cache.formats.completions import Completions
from computer_use_cache.formats.embeddings import Embeddings
from computer_use_cache.formats.gemini import Gemini
from computer_use_cache.formats.messages import Messages
from computer_use_cache.formats.responses import Responses

_GEMINI = re.compile(r"/(?:models|tunedModels|cachedContents)\b.*:\w+$|^/v1(?:beta|alpha)/")
"""Google's custom methods (`models/m:countTokens`), and its versions."""

_BEDROCK = re.compile(r"^/model/.+/[a-z-]+$")
"""Bedrock's operations on a model, those that are not cached too (`count-tokens`)."""

FORMATS: tuple[Format, ...] = (
    *(ChatCompletions(), Completions(), Embeddings(), Responses(), Messages(), Gemini()),
    *(BedrockConverse(), BedrockMessages(), BedrockInvoke()),
)


def match(path: str) -> tuple[Format, str] | None:
    """The API that a path below an API's base belongs to, and the part of the path that belongs to the key."""
    found = ((format, format.match(path)) for format in FORMATS)
    return next(((format, resource) for format, resource in found if resource is not None), None)


def of_client(path: str) -> Format:
    """The API whose errors the client of this path reads, though its answer may not be cached: OpenAI's where the path
    does not tell."""
    if found := match(path):
        return found[0]
    if _GEMINI.search(path):
        return by_name("gemini")
    if _BEDROCK.search(path):
        return by_name("bedrock-converse")
    return by_name("messages" if "/messages/" in f"{path}/" else "chat_completions")


def by_name(name: str) -> Format:
    """The API of this name; raises KeyError."""
    return {format.name: format for format in FORMATS}[name]
