"""Anthropic's `cache_control`: marks on the blocks of a request that change billing, not the answer."""

from __future__ import annotations

from typing import Any

from computer_use_cache.formats.base import Json


def without(blocks: Any) -> Any:
    """The same content blocks without these marks, also on those inside them; the originals are left alone."""
    if isinstance(blocks, list):
        return [_block_without(block) if isinstance(block, dict) else block for block in blocks]
    return blocks


def _block_without(block: Json) -> Json:
    plain = {name: value for name, value in block.items() if name != "cache_control"}
    if block.get("type") in ("tool_result", "search_result") and "content" in block:
        plain["content"] = without(block["content"])
    source = block.get("source")
    if block.get("type") == "document" and isinstance(source, dict) and "content" in source:
        plain["source"] = source | {"content": without(source["content"])}
    return plain
