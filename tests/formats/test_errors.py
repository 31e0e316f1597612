"""Errors come in the form of the API that was asked, also where its answers are not cached."""

from __future__ import annotations

import pytest

from computer_use_cache import formats
from computer_use_cache.errors import RequestError


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/messages", "messages"),
        ("/messages/count_tokens", "messages"),
        ("/api/chat", "ollama_chat"),
        ("/v2/chat", "cohere_chat"),
        ("/v1/messages/batches/b", "messages"),
        ("/v1beta/models/m:generateContent", "gemini"),
        ("/v1beta/models/m:countTokens", "gemini"),
        ("/v1beta/models", "gemini"),
        ("/v1/projects/p/locations/l/publishers/google/models/m:countTokens", "gemini"),
        ("/responses", "responses"),
        ("/models", "chat_completions"),
        ("/files", "chat_completions"),
        ("/threads/t/messages-of-mine", "chat_completions"),
        ("/anything:else", "chat_completions"),
    ],
)
def test_a_client_gets_errors_in_its_apis_form(path: str, name: str) -> None:
    error = RequestError(404, "It is not recorded.", code="offline_miss")
    assert formats.of_client(path).error(error) == formats.by_name(name).error(error)


@pytest.mark.parametrize("format", formats.FORMATS, ids=lambda each: each.name)
def test_what_is_not_recorded_has_a_status_that_clients_do_not_retry(format: formats.Format) -> None:
    assert 400 <= format.offline_status < 500
    assert format.offline_status not in (401, 403, 408, 409, 429), "clients log in anew, or ask again"
