"""Requests that name state at the provider bypass the cache; those that only have it made for them do not."""

from __future__ import annotations

from typing import Any

import pytest

from computer_use_cache import formats

BYPASSED: dict[str, list[dict[str, Any]]] = {
    "responses": [
        {"conversation": "conv_1"},
        {"background": True},
        {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "explicit", "container_id": "cntr_1"}}]},
        {"tools": [{"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"tools": [{"type": "mcp", "name": "x"}]},
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://mcp.example"}]},
        {"tools": [{"type": "mcp", "server_label": "x", "connector_id": "connector_gmail"}]},
    ],
    "messages": [
        {"container": "container_1"},
        {"container": {"id": "container_1", "skills": []}},
        {"mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "x"}]},
    ],
    "chat_completions": [
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://mcp.example"}]},
        {"tools": [{"type": "collections_search", "collection_ids": ["c_1"]}]},
        {"data_sources": [{"type": "azure_search", "parameters": {}}]},
    ],
    "gemini": [
        {"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/x"]}}]},
        {"tools": [{"retrieval": {"vertexRagStore": {"ragResources": []}}}]},
        {"tools": [{"mcpServers": [{"name": "x"}]}]},
    ],
}
CACHED: dict[str, list[dict[str, Any]]] = {
    "responses": [
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file_1"]}}]},
        {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]},
        {"tools": [{"type": "web_search"}, {"type": "computer_use_preview"}]},
        {"tools": [{"type": "function", "name": "f", "parameters": {"properties": {"container": {"type": "string"}}}}]},
    ],
    "messages": [
        {"container": None},
        {"container": {"skills": [{"skill_id": "pptx"}]}},
        {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
        {"tools": [{"name": "f", "input_schema": {"properties": {"server_url": {"type": "string"}}}}]},
    ],
    "chat_completions": [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"container": "a"}}}]},
        {"messages": [{"role": "user", "content": "server_url: container"}]},
    ],
    "gemini": [{"tools": [{"functionDeclarations": [{"name": "retrieval"}]}, {"codeExecution": {}}]}],
}


@pytest.mark.parametrize(("api", "body"), [(api, body) for api, bodies in BYPASSED.items() for body in bodies])
def test_a_handle_to_state_bypasses_the_cache(api: str, body: dict[str, Any]) -> None:
    assert formats.by_name(api).bypass_reason(body)


@pytest.mark.parametrize(("api", "body"), [(api, body) for api, bodies in CACHED.items() for body in bodies])
def test_what_names_no_state_is_cached(api: str, body: dict[str, Any]) -> None:
    assert formats.by_name(api).bypass_reason(body) is None
