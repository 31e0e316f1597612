"""openai for Node and the Vercel AI SDK make the same of a synthesised stream as of the JSON answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import FAKE_KEY, Asked, Proxy, Send, Upstream, completion, response

MODULES = Path(sys.prefix) / "node" / "node_modules"
SCRIPT = Path(__file__).parents[1] / "node" / "clients.cjs"

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Ulaanbaatar"}'},
}
CHAT = completion(
    "",
    choices=[
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Let me see…", "refusal": None, "tool_calls": [CALL]},
            "finish_reason": "tool_calls",
            "logprobs": None,
        }
    ],
)
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "status": "completed",
    "model": "response-model",
    "error": None,
    "incomplete_details": None,
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Let me see…", "annotations": [], "logprobs": []}],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city": "Ulaanbaatar"}',
            "status": "completed",
        },
    ],
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
}
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-model",
    "content": [
        {"type": "thinking", "thinking": "Somewhere far.", "signature": "c2lnbmF0dXJl"},
        {"type": "text", "text": "Let me see…"},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Ulaanbaatar"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 4},
}


async def answer_each_api(asked: Asked, send: Send) -> None:
    answers: dict[str, Any] = {"chat-model": CHAT, "response-model": RESPONSE, "claude-model": CLAUDE}
    await send(response(json.dumps(answers[asked.json()["model"]]).encode()))


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
@pytest.mark.skipif(not MODULES.exists(), reason="no Node clients: `scripts/setup dev` installs them where npm is")
def test_node_clients_make_the_same_of_both_shapes(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = answer_each_api
    command = ["node", str(SCRIPT), f"http://127.0.0.1:{proxy.port}", FAKE_KEY]
    environment = os.environ | {"NODE_PATH": str(MODULES), "AI_SDK_LOG_WARNINGS": "false"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert {name: result["streamed"] for name, result in results.items() if name != "openai"} == {
        name: result["whole"] for name, result in results.items() if name != "openai"
    }
    assert results["ai anthropic"]["whole"]["reasoning"] == "Somewhere far."
    assert results["ai chat"]["whole"]["calls"] == [["call_1", "weather", {"city": "Ulaanbaatar"}]]
    for api in ("chat", "responses"):
        whole, streamed = results["openai"][api]["whole"], results["openai"][api]["streamed"]
        assert _without_parsed(streamed) == _without_parsed(whole)
    assert all("stream" not in asked.json() for asked in upstream.asked), "every stream came from the cache"


def _without_parsed(value: Any) -> Any:
    """Without what the Node client adds to a streamed answer, and null as if it was not there."""
    match value:
        case dict():
            kept = {name: item for name, item in value.items() if item is not None and not name.startswith("parsed")}
            return {name: _without_parsed(item) for name, item in kept.items()}
        case list():
            return [_without_parsed(item) for item in value]
    return value
