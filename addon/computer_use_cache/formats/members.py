"""Names of members that mean the same in several APIs: what a format starts from, and may add to."""

from __future__ import annotations

EXACT = frozenset(
    (
        *("model", "models", "previous_response_id", "cachedContent", "cached_content", "file_id"),
        *("url", "image_url", "video_url", "file_url", "server_url", "fileUri", "file_uri"),
        *("data", "bytes", "file_data", "redactedContent", "signature", "encrypted_content"),
        *("thoughtSignature", "thought_signature"),
    )
)
"""Members of a request that name something elsewhere (the date in a model's name is not one of the run's), or that hold
no text."""

VOLATILE = frozenset(
    (
        *("id", "call_id", "tool_call_id", "request_id", "previous_response_id", "item_id"),
        *("created", "created_at", "completed_at", "expires_at", "usage", "timings", "x_groq"),
        *("system_fingerprint", "service_tier", "provider", "signature", "encrypted_content"),
    )
)
"""Members of an answer that differ between two calls that say the same."""

WRITTEN_BY_API = frozenset(
    (
        *("id", "call_id", "responseId", "type", "role", "object", "status", "name", "index", "toolUseId"),
        *("finish_reason", "stop_reason", "stopReason", "finishReason", "model", "modelVersion"),
        *("system_fingerprint", "service_tier"),
        *("data", "bytes", "redactedContent", "encrypted_content", "signature"),
        *("thoughtSignature", "thought_signature"),
    )
)
"""Members of an answer whose text is the API's and not the model's: labels, ids of its own, and data."""

POSITIONS = frozenset(
    (
        *("logprobs", "logprobsResult", "token_ids", "start_index", "startIndex", "start_char_index"),
        *("end_index", "endIndex", "end_char_index"),
    )
)
"""Members of an answer that count or repeat the tokens or characters of a text."""

TOOLS = frozenset(
    (
        *("tools", "tool_config", "toolConfig", "tool_resources", "mcp_servers", "mcpServers"),
        *("data_sources", "dataSources", "plugins", "connectors", "integrations", "guardrails"),
        *("web_search_options", "search_parameters"),
        *("extra_body", "litellm_params", "model_list", "fallbacks"),
    )
)
"""Members of a request that hold tools, their servers and sources of data, and what gateways take for other
providers."""

SCHEMAS = frozenset(
    (
        *("function", "functionDeclarations", "function_declarations", "parameters", "parametersJsonSchema"),
        *("input_schema", "inputSchema", "schema", "format"),
    )
)
"""Members of a tool that hold the schema of a function."""
