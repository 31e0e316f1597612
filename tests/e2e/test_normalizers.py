"""With normalisers a run that differs only in what moves is answered from the first one, and the provider is sent what
was asked."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest

from support import Upstream, running_proxy


def screenshot(clock: str) -> str:
    """A PNG that holds the time it was made at."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (scripts/setup dev)").new("RGB", (64, 48))
    info = pytest.importorskip("PIL.PngImagePlugin").PngInfo()
    info.add_text("Creation Time", clock)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=info)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def run(clock: str, uuid: str, call: str) -> dict[str, Any]:
    """The request of a turn in one run of an agent."""
    function = {"name": "screenshot", "arguments": "{}"}
    return {
        "model": "gpt-2024-08-06",
        "messages": [
            {"role": "system", "content": f"It is {clock}. Session {uuid}, build {uuid[:2]}."},
            {"role": "assistant", "tool_calls": [{"id": call, "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": call, "content": f"saved as /tmp/tmp{call}/shot.png"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": screenshot(clock)}}]},
        ],
    }


def test_a_second_run_hits_although_everything_moved(tmp_path: Path, upstream: Upstream) -> None:
    first = run("2026-11-24T07:54:38Z", "550e8400-e29b-41d4-a716-446655440000", "call_1")
    second = run("2026-11-25T09:00:00Z", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", "call_2")
    rules = r"uuids,timestamps,tmp-paths,tool-call-ids,image-pixels,s/build \w+/build/"
    with running_proxy(tmp_path, upstream.url, CACHE_NORMALIZE=rules) as proxy:
        assert proxy.post("/v1/chat/completions", first).cache == "MISS"
        assert upstream.asked[0].json() == first
        answer = proxy.post("/v1/chat/completions", second)
        assert (answer.cache, len(upstream.asked)) == ("HIT", 1)
        assert proxy.post("/v1/chat/completions", second | {"model": "gpt-2024-05-13"}).cache == "MISS"
        assert upstream.asked[1].json() == second | {"model": "gpt-2024-05-13"}
