"""The demo's agent. It asks a model what to do, does it and shows the model the screen, until the model has an answer.

Like most agents, it tells the model the time and its folder. Its screen is one of two pictures.
Prints a line for each call: the seconds that it took, what the cache says about it, and what the model wants.
"""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_BUTTON = (64, 460, 316, 512)
"""Where the first mug's button is on the screen: left, top, right, bottom."""
_MOST_CALLS = 10


class Screen:
    """A web shop whose only button that works puts the blue mug into the cart."""

    def __init__(self) -> None:
        self._page = "shop.png"

    def act(self, action: dict[str, Any]) -> str:
        """Do what the model wants; returns it in words."""
        if action["type"] != "click":
            return f"{action['type']}()"
        left, top, right, bottom = _BUTTON
        if left <= action["x"] <= right and top <= action["y"] <= bottom:
            self._page = "cart.png"
        return f"click({action['x']}, {action['y']})"

    def shot(self) -> str:
        """The screenshot as a data URL."""
        return "data:image/png;base64," + base64.b64encode((_HERE / self._page).read_bytes()).decode()


def ask(conversation: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """What the model says, and what the cache says about the call."""
    body = {
        "model": "stand-in",
        "instructions": "You use a computer for the user.",
        "input": conversation,
        "store": False,
        "tools": [
            {"type": "computer_use_preview", "display_width": 1024, "display_height": 640, "environment": "browser"},
            {"type": "function", "name": "write_file", "parameters": {"type": "object"}},
        ],
    }
    url = os.environ["OPENAI_BASE_URL"] + "/responses"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # the cache, on this machine
        return json.load(answer)["output"], answer.headers.get("X-Computer-Use-Cache", "no cache")


def do(item: dict[str, Any], screen: Screen) -> tuple[str, dict[str, Any] | None]:
    """What the model wants, in words, and what to tell it when that is done: nothing after its last word."""
    match item:
        case {"type": "computer_call", "call_id": call_id, "action": action}:
            done = screen.act(action)
            shown = {"type": "computer_screenshot", "image_url": screen.shot()}
            return done, {"type": "computer_call_output", "call_id": call_id, "output": shown}
        case {"type": "function_call", "call_id": call_id, "arguments": arguments}:
            wanted = json.loads(arguments)
            Path(wanted["path"]).write_text(wanted["text"] + "\n", encoding="utf-8")
            written = {"type": "function_call_output", "call_id": call_id, "output": "written"}
            return f"write_file({wanted['path']})", written
    return item["content"][0]["text"], None


def main() -> None:
    """Do one task."""
    now, folder, screen = datetime.now(UTC), Path.cwd(), Screen()
    task = f"It is {now:%Y-%m-%dT%H:%M:%SZ}. Put the blue mug into the cart, then note that in {folder / 'done.txt'}."
    conversation: list[dict[str, Any]] = [{"role": "user", "content": task}]
    for _ in range(_MOST_CALLS):
        started = time.perf_counter()
        [item], outcome = ask(conversation)
        seconds = time.perf_counter() - started
        words, result = do(item, screen)
        print(f"{seconds:.4f}", outcome, words, sep="\t", flush=True)
        if result is None:
            return
        conversation += [item, result]


if __name__ == "__main__":
    main()
