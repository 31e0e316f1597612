"""A response cache for AI agents: repeated model calls are answered from disk, everything else goes upstream."""

from __future__ import annotations

import os
from typing import TypedDict

__version__ = "1.0.0"


class OpenAIConfig(TypedDict):
    """Arguments for `openai.OpenAI`."""

    base_url: str
    api_key: str


def openai_config(base_url: str | None = None, api_key: str | None = None) -> OpenAIConfig:
    """Arguments that send a client through the cache: `OpenAI(**openai_config())`.

    `base_url` defaults to the address in HOST and PORT, `api_key` to OPENAI_API_KEY or UPSTREAM_API_KEY. The client
    needs a key even if the cache sends its own upstream.
    """
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    key = api_key or os.environ.get("OPENAI_API_KEY") or os.environ.get("UPSTREAM_API_KEY") or "unused"
    return {"base_url": base_url or f"http://{host}:{port}/v1", "api_key": key}
