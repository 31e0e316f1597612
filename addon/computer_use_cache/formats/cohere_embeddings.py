"""Cohere's `/embed`, in both versions. What it answers depends on `embedding_types`: floats, int8, binary, base64.

Rules: https://docs.cohere.com/reference/embed
"""

from __future__ import annotations

from computer_use_cache.formats.base import UsageFlavor
from computer_use_cache.formats.cohere import Cohere
from computer_use_cache.formats.one_shape import OneShape


class CohereEmbeddings(Cohere, OneShape):
    """`POST /v2/embed`."""

    name = "cohere_embeddings"
    operation = "embeddings"
    origin_routes = ("/v2/embed",)
    conversation = "texts"
    answered = "embeddings"
    held = ("embeddings",)
    image_places = ("images/*", "inputs/*/content/*/image_url/url")
    usage_places = ("meta/billed_units",)
    usage_flavor = UsageFlavor("cohere", "embeddings", ("embeddings",))


class CohereEmbeddingsV1(CohereEmbeddings):
    """`POST /v1/embed`."""

    name = "cohere_embeddings_v1"
    origin_routes = ("/v1/embed",)
