"""Errors come in the form of the API that was asked, also where its answers are not cached."""

from __future__ import annotations

import re

import pytest

from computer_use_cache import formats
from computer_use_cache.errors import RequestError


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/messages", set(), "messages"),
        ("/messages/count_tokens", set(), "messages"),
        ("/api/chat", set(), "ollama_chat"),
        ("/v2/chat", set(), "cohere_chat"),
        ("/v1/messages/batches/b", set(), "messages"),
        ("/v1beta/models/m:generateContent", set(), "gemini"),
        ("/v1beta/models/m:countTokens", set(), "gemini"),
        ("/v1beta/models", set(), "gemini"),
        ("/v1/projects/p/locations/l/publishers/google/models/m:countTokens", set(), "gemini"),
        ("/responses", set(), "responses"),
        ("/models", set(), "chat_completions"),
        ("/files", set(), "chat_completions"),
        ("/threads/t/messages-of-mine", set(), "chat_completions"),
        ("/anything:else", set(), "chat_completions"),
        ("/v1/models", {"anthropic-version"}, "messages"),
        ("/api/hello", set(), "messages"),
        ("/v1/models", {"x-goog-api-key"}, "gemini"),
        ("/v1beta/openai/models", {"x-goog-api-key"}, "chat_completions"),
    ],
)
def test_a_client_gets_errors_in_its_apis_form(path: str, headers: set[str], name: str) -> None:
    below = re.sub("^/v1(?:beta)?(?=/)", "", path)
    error = RequestError(404, "It is not recorded.", code="offline_miss")
    assert formats.of_client(path, below, headers).error(error) == formats.by_name(name).error(error)


@pytest.mark.parametrize("format", formats.FORMATS, ids=lambda each: each.name)
def test_what_is_not_recorded_has_a_status_that_clients_do_not_retry(format: formats.Format) -> None:
    assert 400 <= format.offline_status < 500
    assert format.offline_status not in (401, 403, 408, 409, 429), "clients log in anew, or ask again"


def test_gemini_cli_does_not_ask_another_model_for_what_is_not_recorded() -> None:
    assert formats.by_name("code_assist").offline_status == 400
