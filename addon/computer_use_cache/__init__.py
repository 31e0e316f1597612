"""A response cache for AI agents: exact repeats of model calls come from disk, everything else goes upstream."""

from __future__ import annotations

import os
from typing import TypedDict

__version__ = "1.0.0"


class OpenAIConfig(TypedDict):
    """The arguments of `openai.OpenAI` that `openai_config` gives."""

    base_url: str
    api_key: str


def openai_config(base_url: str | None = None, api_key: str | None = None) -> OpenAIConfig:
    """What `OpenAI(**openai_config())` needs to go through the cache.

    `base_url` is where the cache listens, from HOST and PORT by default. `api_key` is OPENAI_API_KEY, else
    UPSTREAM_API_KEY; a key must be given to the client even where the cache sends its own upstream.
    """
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    key = api_key or os.environ.get("OPENAI_API_KEY") or os.environ.get("UPSTREAM_API_KEY") or "unused"
    return {"base_url": base_url or f"http://{host}:{port}/v1", "api_key": key}
