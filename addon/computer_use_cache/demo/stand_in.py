"""A server in a model's place: it speaks OpenAI's Responses API, has the answers to the demo's task, and is slow.

It looks at the conversation only, as a model does: it knows nothing of runs, and gives new ids to every answer.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_SECONDS = 0.3
"""A model would take longer."""
_BUTTON = {"x": 190, "y": 486}
_NOTE = re.compile(r"note that in (\S+)\.$")


class _Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        time.sleep(_SECONDS)
        body = json.dumps(_answer(sent)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _answer(sent: dict[str, Any]) -> dict[str, Any]:
    said = len(json.dumps(sent["input"])) // 4
    usage = {"input_tokens": said, "output_tokens": 30, "total_tokens": said + 30}
    return {
        "id": f"resp_{secrets.token_hex(8)}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": sent["model"],
        "output": [_next(sent["input"])],
        "usage": usage,
    }


def _next(conversation: list[dict[str, Any]]) -> dict[str, Any]:
    """The model's next step: look, click, note it down, say so."""
    head = {"status": "completed", "id": f"item_{secrets.token_hex(8)}"}
    call = head | {"call_id": f"call_{secrets.token_hex(8)}"}
    screens = sum(item.get("type") == "computer_call_output" for item in conversation)
    if conversation[-1].get("type") == "function_call_output":
        text = {"type": "output_text", "text": "The blue mug is in the cart.", "annotations": []}
        return head | {"type": "message", "role": "assistant", "content": [text]}
    if screens == 2:
        noted = _NOTE.search(conversation[0]["content"])
        assert noted
        arguments = {"path": noted[1], "text": "The blue mug is in the cart."}
        return call | {"type": "function_call", "name": "write_file", "arguments": json.dumps(arguments)}
    action = {"type": "click", "button": "left", **_BUTTON} if screens else {"type": "screenshot"}
    return call | {"type": "computer_call", "action": action, "pending_safety_checks": []}


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The server on a free loopback port; its base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()
