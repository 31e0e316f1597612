"""What OpenAI's APIs have in common, here and at the many providers that speak them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import ClassVar
from urllib.parse import quote

from computer_use_cache.errors import RequestError
from computer_use_cache.formats.base import Format, Json

EXCLUDED = frozenset(
    {
        "stream",
        "stream_options",
        "cache_control",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""The `key_excluded` of the APIs that answer with text."""

CLIENT_IDS = ("user", "safety_identifier", "prompt_cache_key", "metadata/user_id")
"""The `client_ids` of these APIs."""

_AZURE = "/openai/deployments/"
_DEPLOYMENT = re.compile(rf"{_AZURE}([^/]+)$")


class OpenAI:
    """OpenAI's error object, and Azure's paths, which name the model as a deployment."""

    origin_paths: ClassVar[tuple[str, ...]] = (_AZURE,)
    key_headers: ClassVar[tuple[str, ...]] = ("openai-beta",)
    kept_headers: ClassVar[Collection[str]] = (
        *Format.kept_headers,
        *("openai-model", "openai-processing-ms", "openai-version", "apim-request-id"),
    )
    """The last one is Azure's. OpenAI's other headers name the caller's organisation and project."""
    account_headers: ClassVar[tuple[str, ...]] = ("openai-organization", "openai-project")
    client_ids: ClassVar[tuple[str, ...]] = CLIENT_IDS
    foreign_history: ClassVar[tuple[str, ...]] = (
        *("invalid_encrypted_content", "encrypted content"),
        *("previous_response_not_found", "Previous response with id", "Item with id"),
    )

    _TYPES: ClassVar[dict[int, str]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        413: "invalid_request_error",
        502: "upstream_error",
        504: "upstream_error",
    }

    def model_in_base(self, base: str) -> str:
        deployment = _DEPLOYMENT.search(base)
        return deployment[1] if deployment else ""

    def with_model(self, upstream: str, path: str, model: str) -> tuple[str, str]:
        """Azure names the model as a deployment in the base URL."""
        return _DEPLOYMENT.sub(lambda _: _AZURE + quote(model, safe=""), upstream), path

    def error(self, error: RequestError) -> Json:
        kind = self._TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}
