"""Credentials of tools, servers and sources of data are known by their place, in every API's spelling."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from computer_use_cache.credentials.places import part, repeated

FUNCTION = {"type": "object", "properties": {"token": {"type": "string"}, "headers": {"type": "object"}}}
SEGMENT = "Zk3vQ9xLw2Rt" + "8Yp5Nc7Hd4Sb6"


@pytest.mark.parametrize(
    ("body", "clean", "credentials"),
    [
        pytest.param(
            {"tools": [{"type": "mcp", "server_url": "https://m.example/sse", "authorization": "one"}]},
            {"tools": [{"type": "mcp", "server_url": "https://m.example/sse"}]},
            ("one",),
            id="Responses: authorization",
        ),
        pytest.param(
            {"tools": [{"type": "mcp", "headers": {"Authorization": "Bearer two", "X-Org": "three"}}]},
            {"tools": [{"type": "mcp"}]},
            ("Bearer two", "three"),
            id="Responses, chat: headers",
        ),
        pytest.param(
            {"mcp_servers": [{"type": "url", "url": "https://m.example", "authorization_token": "one"}]},
            {"mcp_servers": [{"type": "url", "url": "https://m.example"}]},
            ("one",),
            id="Messages: authorization_token",
        ),
        pytest.param(
            {
                "tools": [
                    {"mcpServers": [{"streamableHttpTransport": {"url": "https://m.example", "headers": {"a": "one"}}}]}
                ]
            },
            {"tools": [{"mcpServers": [{"streamableHttpTransport": {"url": "https://m.example"}}]}]},
            ("one",),
            id="Gemini: a server's headers",
        ),
        pytest.param(
            {"tools": [{"retrieval": {"externalApi": {"apiAuth": {"apiKeyConfig": {"apiKeyString": "one"}}}}}]},
            {"tools": [{"retrieval": {"externalApi": {}}}]},
            ("one",),
            id="Vertex: a key of a source",
        ),
        pytest.param(
            {"request": {"tools": [{"googleMaps": {"authConfig": {"oauthConfig": {"accessToken": "one"}}}}]}},
            {"request": {"tools": [{"googleMaps": {}}]}},
            ("one",),
            id="Code Assist: one level deeper",
        ),
        pytest.param(
            {"data_sources": [{"parameters": {"index": "i"}, "authentication": {"type": "api_key", "key": "one"}}]},
            {"data_sources": [{"parameters": {"index": "i"}}]},
            ("api_key", "one"),
            id="Azure: own data",
        ),
        pytest.param(
            {"web_search_options": {"api_key": "one", "search_context_size": "low"}},
            {"web_search_options": {"search_context_size": "low"}},
            ("one",),
            id="a search",
        ),
        pytest.param(
            {"fallbacks": [{"model": "m", "api_key": "one"}], "extra_body": {"aws_secret_access_key": "two"}},
            {"fallbacks": [{"model": "m"}], "extra_body": {}},
            ("one", "two"),
            id="a gateway's other providers",
        ),
        pytest.param({"api_key": "one", "model": "m"}, {"model": "m"}, ("one",), id="a gateway's member"),
        pytest.param(
            {"tools": [{"type": "mcp", "server_url": "https://ann:pw@m.example:8/sse?api_key=one&team=red"}]},
            {"tools": [{"type": "mcp", "server_url": "https://m.example:8/sse?team=red"}]},
            ("ann:pw", "one"),
            id="a server's URL",
        ),
    ],
)
def test_credentials_are_parted_from_a_body(
    body: dict[str, Any], clean: dict[str, Any], credentials: tuple[str, ...]
) -> None:
    given = copy.deepcopy(body)
    assert part(body) == (clean, credentials)
    assert body == given


def test_random_text_in_a_servers_url_is_taken_out_and_still_counts() -> None:
    first, second = (
        part({"tools": [{"type": "mcp", "server_url": f"https://m.example/s/{segment}/mcp"}]})
        for segment in (SEGMENT, SEGMENT[::-1])
    )
    assert first.credentials == (SEGMENT,)
    assert SEGMENT not in str(first.body)
    assert first.body != second.body


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "function": {"name": "login", "parameters": FUNCTION}}]},
        {"tools": [{"name": "login", "input_schema": FUNCTION}]},
        {"tools": [{"functionDeclarations": [{"name": "login", "parameters": FUNCTION}]}]},
        {"tools": [{"type": "file_search", "filters": {"type": "eq", "key": "region", "value": "eu"}}]},
        {"tools": [{"type": "mcp", "server_url": "https://m.example/mcp/v1?team=red", "headers": None}]},
        {"tools": [{"type": "web_search", "user_location": {"city": "Bern"}}], "max_tokens": 5},
        {"messages": [{"role": "user", "content": "headers"}], "metadata": {"token": "a"}, "user": "ann"},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": '{"token": "a"}'}}]}]},
        {"messages": [{"role": "user", "content": [{"image_url": {"url": "https://x.example/?token=a"}}]}]},
        {"tools": "none", "mcp_servers": None, "data_sources": [1, None, "a"], "request": 1},
    ],
)
def test_a_body_without_credentials_is_given_back(body: dict[str, Any]) -> None:
    assert part(body).body is body


@pytest.mark.parametrize(
    ("credential", "text", "is_there"),
    [
        ("Bearer secret", "a secret", True),
        ("secret", "a secret", True),
        ("secret", "another", False),
        ("on", "on", False),
    ],
)
def test_a_credential_is_known_again_in_a_text(credential: str, text: str, is_there: bool) -> None:
    assert any(repeated([credential], text)) is is_there
