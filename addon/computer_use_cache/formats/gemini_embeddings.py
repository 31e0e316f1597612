"""Gemini's embeddings, of one text or picture (`embedContent`) or of several (`batchEmbedContents`).

Their numbers have one form only. https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

from computer_use_cache.errors import RequestError
from computer_use_cache.formats import gemini
from computer_use_cache.formats.base import Json, UsageFlavor
from computer_use_cache.formats.gemini import Gemini
from computer_use_cache.formats.one_shape import OneShape

_GEMINI = Gemini()


class GeminiEmbeddings(OneShape):
    """Both methods of the Gemini API, and `predict` of Vertex AI, with which older models embed and draw."""

    name = "gemini_embeddings"
    operation = "embeddings"
    key_excluded = Gemini.key_excluded
    origin_paths = Gemini.origin_paths
    conversation = "content"
    image_places = ("content/parts/*/inlineData/data", "requests/*/content/parts/*/inlineData/data")
    credential_header = Gemini.credential_header
    usage_places = Gemini.usage_places
    usage_flavor = UsageFlavor("google", "default")
    answered = "embedding"
    held = ("embedding", "embeddings", "predictions")

    def match(self, path: str) -> str | None:
        """The model and the method."""
        for method in ("embedContent", "batchEmbedContents", "predict"):
            if resource := gemini.resource_of(path, method):
                return f"{resource}:{method}"
        return None

    def model(self, body: Json, resource: str) -> str:
        return _GEMINI.model(body, resource.rpartition(":")[0])

    def bypass_reason(self, body: Json) -> str | None:
        match body.get("parameters"):
            case {"storageUri": _}:
                return "storageUri has the pictures written to a bucket"
        return super().bypass_reason(body)

    def error(self, error: RequestError) -> Json:
        return _GEMINI.error(error)
