"""Finds handles to state at the provider in a request. That state may change between two calls with the same body.

A container that the provider makes for this call only (`auto`) is not such a handle.
"""

from __future__ import annotations

from typing import Any

_REMOTE = "a remote MCP server is called"
_STORE = "a store of documents is searched"
_CONTAINER = "a container is mutable state"

_REASONS = {
    **dict.fromkeys(("mcp_servers", "mcpServers", "server_url", "connector_id"), _REMOTE),
    **dict.fromkeys(
        (
            *("vector_store_ids", "vector_store_id", "collection_ids", "knowledge_base_ids", "data_sources"),
            *("fileSearchStoreNames", "file_search_store_names", "retrieval", "vertexRagStore", "vertexAiSearch"),
        ),
        _STORE,
    ),
    **dict.fromkeys(("container_id", "container_reference"), _CONTAINER),
}
"""Members of a request or of a tool that are handles, unless they are empty."""
_SCHEMAS = frozenset(
    (
        *("parameters", "input_schema", "schema", "parametersJsonSchema", "functionDeclarations"),
        *("function_declarations", "function", "custom", "description"),
    )
)
"""Members of a tool in which the client describes its own functions: these are not searched."""
_OWN_FUNCTION = _SCHEMAS | {"type", "name", "strict"}
"""Members of a tool that is a function of the client's, as nearly every tool is. In these no API has a handle."""
_CONTAINERS = (dict, list)
"""Named, because writing the pair in a loop makes it anew each time, on every request."""
_AT_THE_TOP = ("container", "mcp_servers", "data_sources", "tools", "tool_resources")


def handle(body: dict[str, Any]) -> str | None:
    """Why the answer depends on state at the provider, by what the request and its tools name; None if it does not."""
    pending: list[Any] = [{name: body[name] for name in _AT_THE_TOP if name in body}]
    while pending:
        found = pending.pop()
        if isinstance(found, list):
            pending += [item for item in found if not _is_own_function(item)]
        elif isinstance(found, dict):
            if found.get("type") == "mcp":
                return _REMOTE
            for name, member in found.items():
                if name in _SCHEMAS:
                    continue
                if name == "container" and _names_container(member):
                    return _CONTAINER
                if name in _REASONS and member:
                    return _REASONS[name]
                if isinstance(member, _CONTAINERS):
                    pending.append(member)
    return None


def _is_own_function(item: Any) -> bool:
    return isinstance(item, dict) and _OWN_FUNCTION.issuperset(item) and item.get("type") != "mcp"


def _names_container(value: Any) -> bool:
    match value:
        case str():
            return value not in ("", "auto")
        case dict():
            return any(value.get(name) for name in ("id", "container_id"))
    return False
